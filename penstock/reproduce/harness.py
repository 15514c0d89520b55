"""Runs experiments over seeds, each run in a process of its own, and holds their medians to the bars."""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any

import msgspec

from penstock.reproduce.base import EXPERIMENTS, Bar, Experiment, Kind, load_all

BEGINS = b"begins"
"""What a process says once it has imported everything: its time counts from here."""
GRACE = 120.0
"""Seconds that importing may take on a busy machine, on top of the time limit."""
ORDER: tuple[Kind, ...] = ("property", "simulated", "real")


class SeedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of an experiment came to."""

    seed: int
    figures: dict[str, float] = {}
    seconds: float = 0.0
    error: str = ""
    """Why there are no figures; empty if there are."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A bar and what became of it."""

    bar: Bar
    median: float | None
    """None when no run returned the figure."""
    met: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment with all its runs."""

    name: str
    row: str
    system: str
    kind: Kind
    title: str
    bars: tuple[Bar, ...]
    runs: tuple[SeedRun, ...]
    quick: bool = False

    def values(self, figure: str) -> list[float]:
        """Return a figure of every run that has it, in the order of the seeds."""
        return [run.figures[figure] for run in self.runs if figure in run.figures]

    def figures(self) -> list[str]:
        """Return the names of all figures, in the order in which the first run named them."""
        return list(dict.fromkeys(name for run in self.runs for name in run.figures))

    def errors(self) -> list[str]:
        """Return what went wrong, each once."""
        return list(dict.fromkeys(run.error for run in self.runs if run.error))

    def judged(self) -> list[Judged]:
        """Return every bar with its verdict; a bar whose figure is missing or not a number is missed."""
        verdicts = []
        for bar in self.bars:
            values = self.values(bar.figure)
            median = statistics.median(values) if values else None
            met = median is not None and not math.isnan(median)
            if met and median is not None:
                met = (bar.floor is None or median >= bar.floor) and (
                    bar.ceiling is None or median <= bar.ceiling
                )
            verdicts.append(Judged(bar=bar, median=median, met=met))
        return verdicts

    @property
    def verdict(self) -> str:
        """``met``, ``missed`` or ``failed`` (a run ended in an error)."""
        if self.errors():
            return "failed"
        return "met" if all(one.met for one in self.judged()) else "missed"


def choose(
    experiments: dict[str, Experiment], wanted: Sequence[str], kinds: Iterable[str] = ()
) -> tuple[list[Experiment], list[str]]:
    """Return the experiments that names, rows or systems pick, and the words that fit none.

    Args:
        experiments: by name.
        wanted: names, rows or systems; none, or ``all``, picks every experiment.
        kinds: only these; none picks every kind.
    """
    every = not wanted or "all" in wanted
    words = {word.lower() for word in wanted}
    unknown = words - {"all"}
    chosen = []
    for one in experiments.values():
        mine = {one.name.lower(), one.row.lower(), one.system.lower()}
        unknown -= mine
        if (every or mine & words) and (not kinds or one.kind in kinds):
            chosen.append(one)
    chosen.sort(key=lambda one: (ORDER.index(one.kind), row_key(one.row), one.name))
    return chosen, sorted(unknown)


def row_key(row: str) -> tuple[float, str]:
    """Return what sorts rows as a reader would: 2 before 10, letters last."""
    digits = "".join(letter for letter in row if letter.isdigit())
    return (float(digits) if digits else math.inf, row)


def run_all(
    chosen: Sequence[Experiment],
    seeds: Sequence[int],
    *,
    quick: bool = False,
    jobs: int = 1,
    time_limit: float = 0.0,
    modules: Sequence[str] = (),
    on_done: Callable[[Experiment, SeedRun], None] | None = None,
) -> list[Report]:
    """Run experiments; what one of them does, crash or hang, does not stop the others.

    Real experiments use the whole machine: they run one at a time, after the others.

    Args:
        chosen: what to run.
        seeds: of every experiment that is not ``fixed``, which runs with the first only.
        quick: small versions, whose bars mean little.
        jobs: processes at once; 0 runs everything in this process, one after the other.
        time_limit: seconds after which a run is stopped and counts as failed; 0 lets it run.
        modules: imported in each process to find experiments of other packages.
        on_done: told of every run that ended.
    """
    tasks = [(one, seed) for one in chosen for seed in (seeds[:1] if one.fixed else seeds)]
    found: dict[tuple[str, int], SeedRun] = {}

    def done(one: Experiment, run: SeedRun) -> None:
        found[one.name, run.seed] = run
        if on_done is not None:
            on_done(one, run)

    if jobs == 0:
        for one, seed in tasks:
            done(one, attempt(one, seed, quick))
    else:
        together = deque(task for task in tasks if task[0].kind != "real")
        alone = deque(task for task in tasks if task[0].kind == "real")
        for queue, width in ((together, jobs), (alone, 1)):
            _Pool(width, quick, time_limit, modules, done).drain(queue)
    return [
        Report(
            name=one.name,
            row=one.row,
            system=one.system,
            kind=one.kind,
            title=one.title,
            bars=one.bars,
            quick=quick,
            runs=tuple(found[key] for key in sorted(found) if key[0] == one.name),
        )
        for one in chosen
    ]


def attempt(one: Experiment, seed: int, quick: bool) -> SeedRun:
    """Run an experiment in this process; an exception becomes the run's error."""
    began = time.perf_counter()
    try:
        figures = {name: float(value) for name, value in one.run(seed, quick).items()}
        error = ""
    except Exception as problem:
        figures, error = {}, _explain(problem)
    return SeedRun(seed=seed, figures=figures, seconds=time.perf_counter() - began, error=error)


def _explain(problem: Exception) -> str:
    """Return the problem and the line of this package where it came up."""
    frames = traceback.extract_tb(problem.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}{where}"


def _child(name: str, seed: int, quick: bool, modules: Sequence[str], real: bool, out: Connection) -> None:
    """Run one experiment in a process of its own and send what came of it."""
    if not real:  # several run side by side
        os.environ["OMP_NUM_THREADS"] = "1"
    for module in modules:
        import_module(module)
    known = EXPERIMENTS if name in EXPERIMENTS else load_all()
    out.send(BEGINS)
    out.send(msgspec.json.encode(_finite(attempt(known[name], seed, quick))))
    out.close()


def _finite(run: SeedRun) -> dict[str, Any]:
    """JSON knows no infinity and no NaN: send such figures as words."""
    figures = {name: value if math.isfinite(value) else str(value) for name, value in run.figures.items()}
    return msgspec.structs.asdict(run) | {"figures": figures}


class _Pool:
    """At most ``width`` processes at once, one per run."""

    def __init__(
        self,
        width: int,
        quick: bool,
        time_limit: float,
        modules: Sequence[str],
        done: Callable[[Experiment, SeedRun], None],
    ) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._width, self._quick, self._limit, self._modules = width, quick, time_limit, modules
        self._done = done
        self._busy: dict[Connection, tuple[Experiment, int, Any, float]] = {}

    def drain(self, queue: deque[tuple[Experiment, int]]) -> None:
        """Run every task of a queue."""
        try:
            while queue or self._busy:
                while queue and len(self._busy) < self._width:
                    self._start(*queue.popleft())
                ready = wait(list(self._busy), timeout=1.0 if self._limit else None)
                for out in ready:
                    assert isinstance(out, Connection)
                    self._collect(out)
                self._stop_late()
        finally:
            for _, _, process, _ in self._busy.values():
                process.kill()

    def _start(self, one: Experiment, seed: int) -> None:
        here, there = self._context.Pipe(duplex=False)
        # Its own module is all that a run needs; a script that registers experiments is not imported again.
        modules = [*self._modules, *([one.run.__module__] if one.run.__module__ != "__main__" else [])]
        arguments = (one.name, seed, self._quick, modules, one.kind == "real", there)
        # Not a daemon: real experiments start servers and worker processes of their own.
        process = self._context.Process(target=_child, args=arguments)
        process.start()
        there.close()
        self._busy[here] = (one, seed, process, time.perf_counter() + GRACE)

    def _collect(self, out: Connection) -> None:
        one, seed, process, began = self._busy.pop(out)
        try:
            said = out.recv()
            if said == BEGINS:
                self._busy[out] = (one, seed, process, time.perf_counter())
                return
            run = msgspec.json.decode(said, type=SeedRun, strict=False)
        except EOFError:
            process.join()
            error = f"the process ended with status {process.exitcode} before the experiment did"
            run = SeedRun(seed=seed, seconds=max(0.0, time.perf_counter() - began), error=error)
        out.close()
        process.join()
        self._done(one, run)

    def _stop_late(self) -> None:
        now = time.perf_counter()
        for out, (one, seed, process, began) in list(self._busy.items()):
            if self._limit and now - began > self._limit and not out.poll():
                del self._busy[out]
                process.kill()
                process.join()
                error = f"stopped after {self._limit:g} s (--time-limit)"
                self._done(one, SeedRun(seed=seed, seconds=now - began, error=error))
