"""Flags that simulate and tune share: the workload, devices, objectives, and the scenario."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from penstock.cli.parser import flag, number
from penstock.config.flags import config_from_args
from penstock.core.errors import ConfigError

if TYPE_CHECKING:
    from penstock.sim.run import Outcome, Refusal, Scenario

MODEL, HARDWARE = "llama-3.1-8b", "h100"


def add_workload_flags(parser: argparse.ArgumentParser, names: str, default: str) -> argparse._ArgumentGroup:
    """Add what is asked of the engine; returns the group for more."""
    group = parser.add_argument_group("workload")
    text = "NAME:KEY=VALUE,... or trace:SCHEMA:PATH,KEY=VALUE...; --list-workloads prints them all"
    flag(group, names, default, "SPEC", text)
    text = "requests per second in place of the workload's own"
    flag(group, "--rate", 0.0, "R", text, number(0, whole=False), "the workload's own")
    flag(group, "--limit", 0, "N", "send only the first N requests", number(0), "all")
    flag(group, "--seed", 0, "N", "seed of the workload", number(0))
    group.add_argument("--list-workloads", action="store_true", help="print the workloads and stop")
    return group


def add_device_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what is simulated; returns the group for more."""
    group = parser.add_argument_group("simulated devices")
    text = "built-in name, or a folder with a config.json"
    flag(group, "--model", "", "MODEL", text, shown=f"the configuration file's, else {MODEL}")
    text = "t4, a10g, l4, a100, h100, h200, gh200, b200, ... or cpu-amx-8 (instruction set, cores)"
    flag(group, "--hardware", HARDWARE, "CARD", text)
    flag(group, "--tp", 1, "N", "cards that share each layer of a replica", number(1, 1024))
    text = "step times in place of --model and --hardware: MODEL@CARD[xTP][pPP], roofline:..., table:FOLDER, "
    text += "fit:FILE.json (from `penstock calibrate`)"
    flag(group, "--cost", "", "SPEC", text, shown="MODEL@CARDxTP")
    flag(group, "--replicas", 1, "N", "engines behind one router", number(1, 100000))
    flag(group, "--route", "least-load", "POLICY", "which replica gets a request")
    text = "KV blocks of a replica"
    flag(group, "--blocks", 0, "N", text, number(0), "what the card's memory leaves beside the weights")
    text = "share of the card's memory that may be used"
    flag(group, "--memory-utilization", 0.9, "X", text, number(0.01, 1, whole=False))
    flag(group, "--max-model-len", 131072, "N", "longest sequence, tokens", number(1))
    text = (
        "CPU time of the scheduler, charged per step: off, SECONDS[,PER_SEQUENCE], or measured here and now"
    )
    flag(group, "--cpu-cost", "off", "COST", text)
    return group


def add_slo_flag(group: argparse._ArgumentGroup, default: str = "") -> None:
    """Add the objectives."""
    text = "objectives on ttft, tpot, e2el; ms unless they end in s: ttft:500,tpot:50"
    flag(group, "--slo", default, "METRIC:VALUE,...", text, shown=default or "none")


def list_workloads() -> int:
    """Print the catalogue of workloads."""
    import shutil
    import textwrap

    from penstock.workload.registry import entries

    width = min(110, shutil.get_terminal_size((100, 24)).columns)
    print("Workloads, as NAME:KEY=VALUE,KEY=VALUE...; what is not given keeps its default.\n")
    for name, entry in entries().items():
        values = " ".join(f"{key}={value}" for key, value in entry.defaults.items())
        print(textwrap.fill(f"{name}  {entry.help}", width, subsequent_indent="    "))
        print(textwrap.fill(values, width, initial_indent="    ", subsequent_indent="    "))
    return 0


def scenario_of(args: argparse.Namespace, workload: str) -> Scenario:
    """Return the scenario that the flags describe, checked as far as that is cheap.

    Raises:
        ConfigError: a flag or the configuration file cannot be used.
    """
    from penstock.sim.run import Scenario, device_of
    from penstock.sim.sweep import check_policies
    from penstock.workload.metrics.records import parse_slo

    config = config_from_args(args)
    try:
        slo = parse_slo([args.slo]) if args.slo else {}
    except ConfigError as error:
        raise ConfigError("--slo", error.message) from None
    model = args.model or config.model.model or MODEL
    degree = f"x{args.tp}" if args.tp > 1 else ""
    share = args.memory_utilization
    if getattr(args, "cache.memory_fraction", None) is not None:  # typed, under any of its names
        share = config.cache.memory_fraction
    scenario = Scenario(
        workload=workload,
        cost=args.cost or f"{model}@{args.hardware}{degree}",
        replicas=args.replicas,
        route=args.route,
        schedule=config.schedule,
        cache=config.cache,
        slo=slo,
        seed=args.seed,
        rate=args.rate,
        limit=args.limit,
        blocks=args.blocks,
        memory_utilization=share,
        max_model_len=args.max_model_len,
        cpu_cost=args.cpu_cost,
    )
    check_policies(scenario)
    device_of(scenario)
    return scenario


def run_one(scenario: Scenario) -> Outcome | Refusal:
    """Run a scenario, in whatever process this is."""
    from time import perf_counter

    from penstock.sim.run import evaluate

    return next(iter(evaluate([scenario], stopwatch=perf_counter)))


@contextmanager
def evaluator(args: argparse.Namespace, what: str) -> Iterator[Callable[[Sequence[Scenario]], Iterator[Any]]]:
    """Give a function that runs scenarios in up to ``--jobs`` processes and yields outcomes in their order.

    A bar on stderr counts the runs.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    quiet = args.no_progress or not console.is_terminal
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task(what, total=0)
        pool = ProcessPoolExecutor(args.jobs, get_context("spawn")) if args.jobs > 1 else None

        def evaluate(scenarios: Sequence[Scenario]) -> Iterator[Any]:
            bar.update(task, total=(bar.tasks[0].total or 0) + len(scenarios))
            for outcome in (pool.map if pool is not None else map)(run_one, scenarios):
                bar.advance(task)
                yield outcome

        try:
            yield evaluate
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
