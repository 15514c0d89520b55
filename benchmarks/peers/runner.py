"""Runs cells (an engine, a workload, a round), interleaved: A B C, A B C... each in a fresh process.

A fresh process has cold prefix caches, shows its start and its memory, and lets no engine's threads run
beside another's. The machine is probed before each workload of each round.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .engines import Unavailable, Variant
from .figures import WrongAnswer, check, run_figures
from .models import Shape
from .process import Adapter, AdapterError
from .workloads import Workload

ROOT = Path(__file__).resolve().parents[2]
SLACK = 128
"""Cache tokens per request beyond its own: engines round up to blocks, of 128 at most."""
GUESS_SECONDS = 60.0
"""Of a cell, before one has been measured."""


@dataclass(frozen=True)
class Ready:
    """A variant whose environment and model folders are there."""

    variant: Variant
    python: str
    models: Mapping[str, str]
    """Folder by model name, converted if need be."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """What all cells share."""

    threads: int
    timeout: float
    """Seconds for an answer."""
    shapes: Mapping[str, Shape]
    warm_up: Path
    logs: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every adapter: the same threads for all, nobody online."""
        count = str(self.threads)
        return {
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def adapter(self, variant: Variant, python: str) -> Adapter:
        """Start an adapter."""
        environment = self.environment
        if not variant.peer.environment:
            environment["PYTHONPATH"] = str(ROOT)
        log = self.logs / f"{variant.label}.log"
        return Adapter([python, str(variant.peer.script)], log, environment)


def settings_for(workload: Mapping[str, Any], shape: Shape, ready: Ready, threads: int) -> dict[str, Any]:
    """Return what every engine is told: room for all requests of the workload at once, and no more."""
    requests = workload["requests"]
    lengths = [len(request["prompt"]) + request["output"] for request in requests]
    tokens = sum(lengths) + SLACK * (len(lengths) + 1)
    return {
        "precision": ready.variant.precision,
        "threads": threads,
        "requests": len(requests) + 1,  # one may still be on its way out when the next comes
        "longest": max(max(lengths), 128) + SLACK,
        "kv_tokens": tokens,
        "kv_bytes": tokens * shape.kv_bytes_per_token,
        "extra": dict(ready.extra),
    }


def prepare(variant: Variant, python: str, model: Path, setup: Setup) -> str:
    """Return the folder that the variant loads, converted once and kept.

    Raises:
        Unavailable: the conversion failed.
    """
    if not variant.peer.converts:
        return str(model)
    into = model.with_name(f"{model.name}-{variant.peer.name}-{variant.precision}")
    if (into / "converted").exists():
        return str(into)
    shutil.rmtree(into, ignore_errors=True)
    try:
        with setup.adapter(variant, python) as adapter:
            adapter.ask(
                setup.timeout, op="prepare", model=str(model), into=str(into), precision=variant.precision
            )
    except AdapterError as error:
        raise Unavailable(f"converting the model failed: {error}") from None
    (into / "converted").touch()
    return str(into)


def run_cell(ready: Ready, workload: Workload, path: Path, setup: Setup) -> dict[str, Any]:
    """Run one workload in a fresh process of one engine; return its figures, or why there are none."""
    content = json.loads(path.read_text(encoding="utf-8"))
    settings = settings_for(content, setup.shapes[workload.model], ready, setup.threads)
    cell: dict[str, Any] = {"engine": ready.variant.label, "workload": workload.name, "figures": None}
    try:
        with setup.adapter(ready.variant, ready.python) as adapter:
            model = ready.models[workload.model]
            loaded = adapter.ask(setup.timeout, op="load", model=model, settings=settings)
            start = time.perf_counter() - adapter.started
            adapter.ask(setup.timeout, op="run", workload=str(setup.warm_up))
            answer = adapter.ask(setup.timeout, op="run", workload=str(path))
            check(content, answer["requests"])
            figures = run_figures(content, answer["requests"], answer["seconds"])
            figures |= {"start": start, "memory": adapter.peak_memory()}
            cell |= {"figures": figures, "versions": loaded["versions"], "details": loaded["details"]}
    except (AdapterError, WrongAnswer) as error:
        cell["reason"] = str(error)
    return cell


def probe_machine(threads: int) -> dict[str, Any]:
    """Measure bandwidth and arithmetic in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers.probe", str(threads)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


class Progress:
    """Says what runs and how long the rest may take: each cell as long as its like took before."""

    def __init__(self, cells: Sequence[tuple[str, str]], say: Callable[[str], None]) -> None:
        self._left = list(cells)
        self._total = len(cells)
        self._seen: dict[tuple[str, str], list[float]] = {}
        self._say = say

    def expected(self) -> float:
        """Return the seconds that are left, as far as can be told."""
        known = [value for values in self._seen.values() for value in values]
        typical = statistics.mean(known) if known else GUESS_SECONDS
        return sum(statistics.mean(self._seen.get(cell, [typical])) for cell in self._left)

    def begin(self) -> None:
        """Announce the next cell."""
        engine, workload = self._left[0]
        number = self._total - len(self._left) + 1
        self._say(
            f"[{number}/{self._total}] {workload} {engine}; about {self.expected() / 60:.0f} min to the end"
        )

    def end(self, seconds: float) -> None:
        """Note what the cell took."""
        self._seen.setdefault(self._left.pop(0), []).append(seconds)


def run_all(
    engines: Sequence[Ready],
    workloads: Sequence[Workload],
    paths: Mapping[tuple[str, int], Path],
    rounds: int,
    setup: Setup,
    say: Callable[[str], None],
    cell: Callable[[Ready, Workload, Path, Setup], dict[str, Any]] = run_cell,
    probe: Callable[[int], dict[str, Any]] = probe_machine,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run everything, interleaved; an engine that failed a workload is not asked for it again.

    Args:
        engines: in the order of each round.
        workloads: each of them by all engines before the next, as far as `wanted`.
        paths: file by workload and round: other tokens in each round.
        rounds: how often.
        setup: see there.
        say: told the progress.
        cell: runs a cell.
        probe: measures the machine.

    Returns:
        The cells, and what the probe measured; those until then if the run is interrupted.
    """
    plan = [
        (number, workload, ready)
        for number in range(rounds)
        for workload in workloads
        for ready in engines
        if wanted(ready.variant, workload)
    ]
    progress = Progress([(ready.variant.label, workload.name) for _, workload, ready in plan], say)
    done: list[dict[str, Any]] = []
    probes: list[dict[str, Any]] = []
    try:
        _rounds(plan, paths, setup, progress, say, cell, probe, done, probes)
    except KeyboardInterrupt:
        say("interrupted; what was measured until here is kept")
    return done, probes


def _rounds(
    plan: Sequence[tuple[int, Workload, Ready]],
    paths: Mapping[tuple[str, int], Path],
    setup: Setup,
    progress: Progress,
    say: Callable[[str], None],
    cell: Callable[[Ready, Workload, Path, Setup], dict[str, Any]],
    probe: Callable[[int], dict[str, Any]],
    done: list[dict[str, Any]],
    probes: list[dict[str, Any]],
) -> None:
    """Run the cells of the plan in order, adding to ``done`` and ``probes``."""
    failed: set[tuple[str, str]] = set()
    probed: tuple[int, str] | None = None
    for number, workload, ready in plan:
        if probed != (number, workload.name):
            probed = (number, workload.name)
            probes.append(probe(setup.threads) | {"round": number, "workload": workload.name})
        begun = time.perf_counter()
        key = (ready.variant.label, workload.name)
        if key not in failed:
            progress.begin()
            result = cell(ready, workload, paths[workload.name, number], setup) | {"round": number}
            done.append(result)
            if not result["figures"]:
                failed.add(key)
                say(f"  failed: {result['reason']}")
            else:
                figures = result["figures"]
                speed, taken = f"{figures['total_tps']:.1f} tok/s", f"{figures['seconds']:.1f} s"
                say(f"  {speed}, {taken}, ready after {figures['start']:.1f} s")
        progress.end(time.perf_counter() - begun)


QUANTISED_WORKLOADS = ("W1", "W2", "tiny")


def wanted(variant: Variant, workload: Workload) -> bool:
    """Return whether a variant runs a workload: bfloat16 all, others where weights are what counts."""
    return variant.precision == "bf16" or workload.name in QUANTISED_WORKLOADS
