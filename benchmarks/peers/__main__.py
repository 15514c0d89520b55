"""Compare Penstock with other engines on this machine: same models, same requests, one run.

    make bench-peers                                  everything, three rounds
    python -m benchmarks.peers --engines penstock,hf-generate --workloads tiny --rounds 1

Engines are installed from their packages when first needed. What cannot be installed or fails is left out
of the tables and named below them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock.bench.report import envelope, result_path, write_result

from . import models
from .engines import PEERS, PRECISIONS, Unavailable, Variant
from .environments import default_root, interpreter
from .figures import Summary, spread, summarise
from .limits import Machine, shares
from .plot import plot
from .report import whole_report
from .runner import Ready, Setup, prepare, run_all, wanted
from .workloads import DEFAULT, WARM_UP, WORKLOADS, Workload, write


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the checked command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--engines", default=",".join(PEERS), help=f"comma-separated, of: {', '.join(PEERS)}")
    add("--precisions", default=",".join(PRECISIONS), help="comma-separated, of: bf16, int8, int4")
    add("--workloads", default=",".join(DEFAULT), help=f"comma-separated, of: {', '.join(WORKLOADS)}")
    add("--rounds", type=int, default=3, help="times that everything is run, interleaved (3)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="compute threads of every engine")
    add("--timeout", type=float, default=900.0, help="seconds that an engine may take for an answer (900)")
    add("--seed", type=int, default=0, help="of weights and requests (0)")
    add("--envs", type=Path, default=default_root(), help="folder of environments, models and requests")
    add(
        "--python", action="append", default=[], metavar="NAME=PATH", help="installation to use for an engine"
    )
    add("--set", action="append", default=[], metavar="NAME.KEY=JSON", help="setting passed on to an engine")
    add("--no-install", action="store_true", help="leave out engines that are not installed")
    add("--save", default="benchmarks/results", help="JSON file, or folder for a dated one; plot beside it")
    add("--note", default="", help="remark kept in the result, such as what else was running")
    args = parser.parse_args(arguments)
    for name, known in (("engines", PEERS), ("precisions", PRECISIONS), ("workloads", WORKLOADS)):
        chosen = [one for one in getattr(args, name).split(",") if one]
        unknown = [one for one in chosen if one not in known]
        if unknown or not chosen:
            parser.error(f"--{name}: expected some of {', '.join(known)}, got {getattr(args, name)!r}")
        setattr(args, name, chosen)
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads: expected at least 1")
    try:
        args.python = dict(one.split("=", 1) for one in args.python)
        args.extra = _extra(args.set)
    except ValueError:
        parser.error("--python takes NAME=PATH, --set takes NAME.KEY=JSON")
    for name in [*args.python, *args.extra]:
        if name not in PEERS:
            parser.error(f"no such engine: {name!r}; expected one of {', '.join(PEERS)}")
    return args


def _extra(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    extra: dict[str, dict[str, Any]] = {}
    for one in given:
        place, value = one.split("=", 1)
        engine, key = place.split(".", 1)
        extra.setdefault(engine, {})[key] = json.loads(value)
    return extra


def make_ready(
    args: argparse.Namespace, chosen: Sequence[Workload], setup: Setup
) -> tuple[list[Ready], list[dict[str, str]], dict[str, Any]]:
    """Install and convert; return who takes part, who does not and why, and what installing cost."""
    names = sorted({workload.model for workload in chosen})
    for name in names:
        say(f"model {name}")
    folders = {name: models.write(name, args.envs / "models", args.seed) for name in names}
    ready: list[Ready] = []
    failures: list[dict[str, str]] = []
    costs: dict[str, Any] = {}
    for engine in args.engines:
        peer = PEERS[engine]
        try:
            python, cost = interpreter(peer, args.envs, args.python, say, not args.no_install)
        except Unavailable as error:
            failures.append({"engine": engine, "reason": str(error)})
            say(f"{engine} {error}")
            continue
        if cost:
            costs[engine] = cost
        for precision in (one for one in args.precisions if one in peer.precisions):
            variant = Variant(peer, precision)
            needed = {workload.model for workload in chosen if wanted(variant, workload)}
            try:
                places = {name: prepare(variant, python, folders[name], setup) for name in needed}
            except Unavailable as error:
                failures.append({"engine": variant.label, "reason": str(error)})
                say(f"{variant.label} {error}")
                continue
            ready.append(Ready(variant, python, places, args.extra.get(engine, {})))
    return ready, failures, costs


def share_of_limit(
    summary: Summary, files: dict[str, Path], engines: dict[str, Any], machine: Machine
) -> dict[str, dict[str, dict[str, float]]]:
    """Return each engine's share of the limit by workload, from its medians."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, measured in summary.items():
        content = json.loads(files[name].read_text(encoding="utf-8"))
        shape = models.SHAPES[WORKLOADS[name].model]
        for label, figures in measured.items():
            medians: dict[str, float | None] = {metric: value.median for metric, value in figures.items()}
            found.setdefault(name, {})[label] = shares(
                shape, content, engines[label]["precision"], medians, machine
            )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, save; 1 if nothing could be measured."""
    args = parse(arguments)
    path = result_path(args.save, "peers")
    chosen = [WORKLOADS[name] for name in args.workloads]
    requests = args.envs / "workloads"
    files = {
        (one.name, number): write(one, requests, args.seed + number)
        for one in chosen
        for number in range(args.rounds)
    }
    setup = Setup(
        args.threads, args.timeout, models.SHAPES, write(WARM_UP, requests, args.seed), args.envs / "logs"
    )
    ready, failures, costs = make_ready(args, chosen, setup)
    cells, probes = run_all(ready, chosen, files, args.rounds, setup, say)
    failures += [one for one in cells if not one["figures"]]
    summary = summarise(cells)
    if not summary:
        print("nothing was measured:", *(f"{one['engine']}: {one['reason']}" for one in failures), sep="\n")
        return 1
    result = assemble(args, ready, cells, probes, failures, costs, files)
    write_result(path, result)
    note = f"{result['machine']['cpu']}, {args.threads} threads, {result['date'][:10]}"
    plot(summary, {one.name: one.title for one in chosen}, path.with_suffix(".svg"), note)
    print(whole_report(result, summary))
    print(f"\nsaved {path} and {path.with_suffix('.svg').name}")
    return 0


def assemble(
    args: argparse.Namespace,
    ready: Sequence[Ready],
    cells: list[dict[str, Any]],
    probes: list[dict[str, Any]],
    failures: list[dict[str, Any]],
    costs: dict[str, Any],
    files: dict[tuple[str, int], Path],
) -> dict[str, Any]:
    """Return the result file."""
    settings = {
        name: getattr(args, name) for name in ("rounds", "threads", "timeout", "seed", "extra", "note")
    }
    engines: dict[str, Any] = {}
    for one in ready:
        seen = next((cell for cell in cells if cell["engine"] == one.variant.label and cell["figures"]), {})
        engines[one.variant.label] = {
            "engine": one.variant.peer.name,
            "precision": one.variant.precision,
            "versions": seen.get("versions", {}),
            "details": seen.get("details", {}),
        }
    bandwidth, gemm = (spread(probe[key] for probe in probes) for key in ("bandwidth", "gemm"))
    assert bandwidth is not None and gemm is not None, "the machine is probed before the first cell"
    summary = summarise(cells)
    first = {name: place for (name, number), place in files.items() if number == 0}
    limit = Machine(bandwidth.median, gemm.median)
    best = "torch" if probes[0]["gemm_torch"] >= probes[0]["gemm_own"] else "own kernel"
    amx = "with" if probes[0]["amx"] else "without"
    result = envelope("peers", settings)
    # Folders of this machine say nothing to others.
    result["command"] = "python -m benchmarks.peers"
    return result | {
        "engines": engines,
        "workloads": {name: asdict(WORKLOADS[name]) for name in args.workloads},
        "probe": {
            "bandwidth": bandwidth.as_dict(),
            "gemm": gemm.as_dict(),
            "instructions": f"{best}, on a processor {amx} AMX",
            "samples": probes,
        },
        "summary": {
            name: {
                label: {metric: value.as_dict() for metric, value in figures.items()}
                for label, figures in measured.items()
            }
            for name, measured in summary.items()
        },
        "shares": share_of_limit(summary, first, engines, limit),
        "cells": [{key: cell[key] for key in ("engine", "workload", "round", "figures")} for cell in cells],
        "failures": [
            {key: one[key] for key in ("engine", "workload", "reason") if key in one} for one in failures
        ],
        "installed": costs,
    }


if __name__ == "__main__":
    sys.exit(main())
