"""``penstock tune``: find the composition of policies that serves a workload best, and write it down."""

from __future__ import annotations

import argparse
from pathlib import Path

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

_HELP = "Find the best policies for a workload by simulation, and write a configuration for serve."
_TEXT = """
Tries compositions of order, shape, admit, reserve, retain, preempt and evict with budgets of tokens and
sequences. Many see the first requests of the workload, the better ones and their combinations more, a few all
(successive halving); combinations that make no sense are left out. Best is the highest goodput: requests per
second within --slo; without --slo, tokens per second. What to beat is the configuration given by --config and
flags. The workload should press the engine as hard as yours does at its worst: where everybody is in time
already, nothing can be gained.

The result goes to --write as a file for `penstock serve --config`, with the reasons as comments. It is
SIMULATED: measure it with `penstock bench serve` before you trust it.

examples:
  penstock tune --trace trace:azure:conv.csv,speed=4 --limit 1000 --slo ttft:1s,tpot:50
  penstock tune --trace agent-bfcl:programs=100 --model qwen3-32b --hardware h100 --tp 2 --slo ttft:2s
  penstock tune --trace batch-prefix:groups=40 --write summaries.toml --report report.json
  penstock tune --trace poisson:rate=30 --try order=fcfs,lpm --try max-num-seqs=64,256 --slo ttft:1s
  penstock tune --trace traffic.jsonl --cost fit:fit.json --blocks 2048 --slo ttft:2s
"""


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "tune", run, _HELP, _TEXT)
    add_workload_flags(parser, "--trace --workload", "")
    add_device_flags(parser)
    group = parser.add_argument_group("search")
    add_slo_flag(group)
    text = "values of a setting to try in place of the built-in ones; one keeps it fixed; may be repeated"
    group.add_argument("--try", dest="tried", action="append", default=[], metavar="NAME=V,V...", help=text)
    flag(group, "--random", 16, "N", "random compositions in the first round", number(0, 10000))
    flag(group, "-j --jobs", 1, "N", "processes", number(1, 64))
    group = parser.add_argument_group("result")
    flag(group, "--write", "penstock-tuned.toml", "FILE", "configuration of the best composition")
    flag(group, "--report", "", "FILE", "write every figure as JSON", shown="none")
    group.add_argument("--no-progress", action="store_true", help="no progress bar")
    add_flags(parser, only=("cache", "schedule"))


def run(args: argparse.Namespace) -> int:
    """Search, print, write."""
    if args.list_workloads:
        return list_workloads()
    if not args.trace:
        raise ConfigError("--trace", "expected a workload, such as trace:azure:conv.csv or agent-bfcl")
    from rich.console import Console

    from penstock.bench.machine import command_line
    from penstock.bench.report import envelope, result_path, write_result
    from penstock.config.load import load_config
    from penstock.sim.sweep import parse_sweep
    from penstock.sim.tune import as_report, as_toml, print_tuned, tune

    path = Path(args.write)
    if path.suffix != ".toml" or not path.absolute().parent.is_dir():
        raise ConfigError("--write", f"expected a .toml file in a folder that exists, got {args.write!r}")
    report = result_path(args.report, "tune", "--report") if args.report else None
    scenario = scenario_of(args, args.trace)
    try:
        given = parse_sweep(args.tried)
    except ConfigError as error:
        raise ConfigError("--try", error.message) from None
    with evaluator(args, "compositions") as evaluate:
        found = tune(scenario, evaluate, given=given, extra=args.random, seed=args.seed)
    print_tuned(found, Console(emoji=False))
    path.write_text(as_toml(found, command_line()), encoding="utf-8")
    load_config(path)
    print(f"wrote {path}: penstock serve --config {path}")
    if report is not None:
        settings = {"trace": args.trace, "seed": args.seed, "random": args.random}
        write_result(report, envelope("tune", settings) | as_report(found))
        print(f"saved {report}")
    return 0
