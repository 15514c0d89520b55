"""``penstock simulate``: the scheduler that serves, under a virtual clock, on hardware you may not have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.parser import Parser, Verbs, add_verb, flag, number
from penstock.cli.simulate_flags import (
    add_device_flags,
    add_slo_flag,
    add_workload_flags,
    evaluator,
    list_workloads,
    scenario_of,
)
from penstock.config.flags import add_flags
from penstock.core.errors import ConfigError

if TYPE_CHECKING:
    from penstock.sim.run import Run, Scenario

_HELP = "Run the real scheduler under a virtual clock, on hardware you may not have."
_TEXT = """
Engine, scheduler, KV manager and policies are the code that `penstock serve` runs; exchanged are the clock
and the model, which is a cost model here. All policy and cache flags and configuration files are those of
serve. What comes out is labelled SIMULATED.

Three questions: how would it go (the default), how much can it take (--find-capacity), and which policy is
best (--sweep, once per setting; all combinations run). `penstock tune` searches policies by itself.

examples:
  penstock simulate --workload poisson:rate=4,count=2000 --model llama-3.1-70b --hardware h100 --tp 8
  penstock simulate --workload trace:azure:conv.csv --limit 5000 --slo ttft:1s,tpot:50 --plot pictures/
  penstock simulate --workload vtc-overload --order vtc --chrome-trace trace.json
  penstock simulate --workload poisson:count=1000 --find-capacity --slo ttft:1s,tpot:50
  penstock simulate --rate 12 --sweep order=fcfs,vtc --sweep shape=chunked,prefill-first --slo ttft:1s,tpot:50
  penstock simulate --cost fit:fit.json --blocks 4096 --config penstock.toml
  penstock simulate --list-workloads
"""
WORKLOAD = "poisson:rate=4,count=1000"


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "simulate", run, _HELP, _TEXT)
    group = add_workload_flags(parser, "--workload", WORKLOAD)
    text = "stop at this virtual second; what has not ended counts as unfinished"
    flag(group, "--until", 0.0, "SECONDS", text, number(0, whole=False), "run to the end")
    text = "leave requests of the first so many seconds out of the figures"
    flag(group, "--warmup", 0.0, "SECONDS", text, number(0, whole=False))
    add_device_flags(parser)
    group = parser.add_argument_group("questions")
    add_slo_flag(group)
    text = "find the largest rate at which enough requests meet --slo"
    group.add_argument("--find-capacity", action="store_true", help=text)
    text = "share of requests that must meet --slo for a rate to count"
    flag(group, "--attainment", 0.9, "X", text, number(0.01, 1, whole=False))
    text = "run every combination of these values, of any schedule or cache setting, or of route, replicas, "
    text += "rate, cost, workload, blocks, seed; may be repeated"
    group.add_argument("--sweep", action="append", default=[], metavar="NAME=V,V...", help=text)
    flag(group, "-j --jobs", 1, "N", "processes of a sweep", number(1, 64))
    group = parser.add_argument_group("result")
    flag(
        group,
        "--output",
        "",
        "FILE",
        "write JSON to this file, or to a dated one in this folder",
        shown="none",
    )
    flag(group, "--plot", "", "DIR", "draw pictures into this folder", shown="none")
    text = "write steps and requests for chrome://tracing or Perfetto"
    flag(group, "--chrome-trace", "", "FILE", text, shown="none")
    group.add_argument("--no-progress", action="store_true", help="no progress bar")
    add_flags(parser, only=("cache", "schedule"))


def run(args: argparse.Namespace) -> int:
    """Answer the question that the flags ask."""
    if args.list_workloads:
        return list_workloads()
    from penstock.bench.report import result_path
    from penstock.sim.plots import plot_folder

    scenario = _scenario(args)
    if args.sweep and args.find_capacity:
        raise ConfigError("--sweep", "goes without --find-capacity; sweep rate=4,8,16 instead")
    if args.chrome_trace and (args.sweep or args.find_capacity):
        raise ConfigError("--chrome-trace", "is of one run; it goes without --sweep and --find-capacity")
    if args.find_capacity and not scenario.slo:
        raise ConfigError("--find-capacity", "needs objectives; give --slo, such as ttft:1s,tpot:50")
    args.output = str(result_path(args.output, "simulate", "--output")) if args.output else ""
    pictures = plot_folder(args.plot) if args.plot else None
    if args.sweep:
        return _sweep(args, scenario, pictures)
    if args.find_capacity:
        return _capacity(args, scenario, pictures)
    return _once(args, scenario, pictures)


def _scenario(args: argparse.Namespace) -> Scenario:
    import msgspec

    from penstock.policies.bundle import policy_cautions

    scenario = scenario_of(args, args.workload)
    if not args.sweep:
        for line in policy_cautions(scenario.schedule, scenario.cache, cost=True):
            print(f"mind: {line}", file=sys.stderr)
    until = args.until or float("inf")
    return msgspec.structs.replace(scenario, until=until, warmup=args.warmup)


def _once(args: argparse.Namespace, scenario: Scenario, pictures: Path | None) -> int:
    """One run."""
    from time import perf_counter

    from rich.console import Console

    from penstock.sim.chrome import ChromeTrace
    from penstock.sim.plots import draw_run
    from penstock.sim.report import as_result, print_outcome
    from penstock.sim.run import Run

    trace = ChromeTrace(Path(args.chrome_trace), scenario.replicas) if args.chrome_trace else None
    began = perf_counter()
    with _progress(args) as told:
        ready = Run(scenario, stopwatch=perf_counter, progress=told, trace=trace)
        outcome = ready.go()
    took = perf_counter() - began
    print_outcome(outcome, Console(emoji=False))
    virtual = outcome.figures["virtual_seconds"]
    print(f"simulated {virtual:,.1f} s in {took:,.1f} s: {virtual / took:,.0f} times as fast as real time")
    if trace is not None:
        trace.close()
        rest = f", {trace.left_out:,} left out for want of room" if trace.left_out else ""
        print(f"wrote {args.chrome_trace} ({trace.written:,} events{rest})")
    _drawn(draw_run(ready, pictures) if pictures is not None else [])
    _save(args, as_result(outcome, ready.series) | {"wall_seconds": took})
    return 0 if outcome.figures["completed"] else _nothing(args, ready)


def _nothing(args: argparse.Namespace, ready: Run) -> int:
    """Say why not one request was served."""
    reasons = [f"{why or 'unknown reason'} ({count})" for why, count in ready.collector.details.items()]
    what = "; ".join(reasons[:3]) or "none arrived before --until"
    args.parser.exit(1, f"penstock: no request completed: {what}\n")
    return 1


def _sweep(args: argparse.Namespace, scenario: Scenario, pictures: Path | None) -> int:
    """Every combination."""
    from rich.console import Console

    from penstock.sim.plots_sweep import draw_sweep
    from penstock.sim.report import plain
    from penstock.sim.sweep import as_rows, parse_sweep, print_rows, sweep, variants

    found = variants(scenario, parse_sweep(args.sweep))
    with evaluator(args, "sweep") as evaluate:
        rows = sweep(found, evaluate)
    print_rows(rows, Console(emoji=False))
    _drawn([draw_sweep(rows, pictures)] if pictures is not None else [])
    _save(args, {"label": "simulated", "scenario": plain(scenario), "rows": as_rows(rows)})
    return 0 if any(row.outcome is not None for row in rows) else 2


def _capacity(args: argparse.Namespace, scenario: Scenario, pictures: Path | None) -> int:
    """The largest rate within the objectives."""
    from rich.console import Console

    from penstock.sim.capacity import as_capacity, find_capacity, print_capacity
    from penstock.sim.plots_sweep import draw_capacity

    with evaluator(args, "rates tried") as evaluate:
        found = find_capacity(scenario, evaluate, args.attainment)
    print_capacity(found, Console(emoji=False))
    _drawn([draw_capacity(found, pictures)] if pictures is not None else [])
    _save(args, as_capacity(found))
    return 0 if found.rate > 0 else 1


def _drawn(paths: list[Path]) -> None:
    if paths:
        print(f"drew {', '.join(map(str, paths))}")


def _save(args: argparse.Namespace, result: dict[str, Any]) -> None:
    from penstock.bench.report import envelope, write_result

    if args.output:
        settings = {name: getattr(args, name) for name in ("workload", "seed", "sweep", "find_capacity")}
        write_result(Path(args.output), envelope("simulate", settings) | result)
        print(f"saved {args.output}")


@contextmanager
def _progress(args: argparse.Namespace) -> Iterator[Callable[[float, int], None]]:
    """Show virtual time, requests and speed on stderr."""
    from time import perf_counter

    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    began = perf_counter()
    with Progress(*columns, console=console, disable=args.no_progress or not console.is_terminal) as bar:
        task = bar.add_task("simulating", total=None)

        def told(virtual: float, ended: int) -> None:
            speed = virtual / max(perf_counter() - began, 1e-9)
            text = f"simulated {virtual:,.0f} s, {ended:,} requests ended, {speed:,.0f} x real time"
            bar.update(task, description=text)

        yield told
