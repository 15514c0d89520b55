"""``penstock calibrate``: measure this engine's step times, for the simulator and for policies that ask."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.parser import Parser, Verbs, add_verb, flag, number
from penstock.cli.serve import add_model_argument, take_model_argument
from penstock.config.flags import add_flags, config_from_args

if TYPE_CHECKING:
    from penstock.bench.calibrate import Calibration
    from penstock.engine.journal import Entry

_TEXT = """
Runs a probe workload on the real engine (or reads journals of earlier runs), fits the time of a step to
its shape, and says how far off the fit is on steps that it has not seen. The file serves `penstock simulate
--cost fit:FILE`, `penstock tune` and policies that need step times. The machine should do nothing else.

examples:
  penstock calibrate --output chat.json
  penstock calibrate /models/llama-3.2-1b --seconds 120 --output llama.json
  penstock serve --record-steps steps.jsonl ...     # then, from real traffic:
  penstock calibrate --journal steps.jsonl --output traffic.json
"""


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    text = "Fit a cost model to real steps of an engine."
    parser = add_verb(verbs, "calibrate", run, text, _TEXT, "[MODEL]")
    add_model_argument(parser)
    group = parser.add_argument_group("calibration")
    flag(group, "--output", Path("calibration.json"), "FILE", "where the cost model goes", Path)
    flag(group, "--seconds", 60, "N", "how long the probe workload sends requests", number(5))
    text = "fit to the steps of recorded runs (serve --record-steps) instead of probing"
    group.add_argument("--journal", type=Path, nargs="+", metavar="FILE", help=text)
    text = "write the probe's own journal here"
    group.add_argument("--save-journal", type=Path, metavar="FILE", help=text)
    add_flags(parser, only=("model", "cache", "schedule"))


def run(args: argparse.Namespace) -> int:
    """Record or read steps, fit, report and save."""
    from penstock.bench.calibrate import calibrate, samples, save
    from penstock.bench.report import print_table

    steps = []
    for entries in _read(args.journal) if args.journal else [_probe(args)]:
        steps += samples(entries)
    found = calibrate(steps)
    save(found, args.output)
    print_table("Calibration", _rows(found))
    print(f"penstock: wrote {args.output}; use it with --cost fit:{args.output}")
    return 0


def _read(paths: list[Path]) -> list[list[Entry]]:
    from penstock.core.errors import ConfigError
    from penstock.engine.journal import read_journal

    try:
        return [list(read_journal(path.read_bytes().splitlines())) for path in paths]
    except (OSError, ValueError) as error:
        raise ConfigError("--journal", str(error)) from None


def _probe(args: argparse.Namespace) -> list[Entry]:
    from penstock.bench.paced import PacedRun
    from penstock.bench.probe import Probe
    from penstock.engine.core import build_engine
    from penstock.engine.journal import read_journal
    from penstock.executors.inline import build_executor
    from penstock.workload.metrics.collector import Collector

    take_model_argument(args)
    executor = build_executor(config_from_args(args))
    assert executor.config is not None
    lines: list[bytes] = []
    schedule, cache, spec = executor.config.schedule, executor.config.cache, executor.spec()
    engine = build_engine(executor, schedule, cache, journal=lines.append)
    longest = min(spec.max_model_len, spec.blocks * spec.page_size // 2)
    probe = Probe(args.seconds, longest, min(schedule.max_num_seqs, spec.slots))
    with _shown(args.seconds) as ended:
        PacedRun(engine, Collector(), spec.vocab_size, ended).run(probe)
    engine.close()
    if args.save_journal:
        args.save_journal.write_bytes(b"".join(lines))
    return list(read_journal(lines))


@contextmanager
def _shown(seconds: int) -> Iterator[Callable[[int], None]]:
    """Show what has been done on stderr while the probe runs."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"probing for {seconds} s") as status:
        yield lambda ended: status.update(f"probing for {seconds} s: {ended} requests")


def _rows(found: Calibration) -> list[tuple[str, str]]:
    host = found.host
    return [
        ("steps", f"{found.steps}, of which {found.held_out} held out"),
        ("error on held-out steps", f"{100 * found.held_out_mape:.1f} % (mean absolute)"),
        ("error on all, refitted", f"{100 * found.cost.mape:.1f} %"),
        ("planning", f"{1e6 * host.plan:.0f} us + {1e6 * host.plan_sequence:.1f} us a sequence"),
        ("landing", f"{1e6 * host.land:.0f} us + {1e6 * host.land_sequence:.1f} us a sequence"),
    ]
