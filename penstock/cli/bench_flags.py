"""Flags that the benchmarks share: the workload, and where the result goes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.parser import flag, number
from penstock.core.errors import ConfigError

if TYPE_CHECKING:
    from penstock.bench.workload import WorkloadSpec
    from penstock.workload.metrics.records import Record

_LENGTHS = "N, uniform:LOW:HIGH or lognormal:MEAN:SIGMA (SIGMA of the logarithm)"
_DATASETS = (
    "random: random tokens; shared-prefix: the same after one of a few prefixes; jsonl: one object per line "
    "with prompt or messages, optionally output_tokens and arrival (s), other keys go into the body; trace: "
    "lengths and times of an Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens) or of .jsonl lines with "
    "arrival, prompt_tokens, output_tokens"
)


def add_length_flags(group: argparse._ArgumentGroup, inputs: str, outputs: str) -> None:
    """Add the token counts of prompts and outputs."""
    flag(group, "--input-len --random-input-len", inputs, "LEN", f"prompt tokens: {_LENGTHS}")
    flag(group, "--output-len --random-output-len", outputs, "LEN", "output tokens, in the same forms")


def add_workload_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what is asked for; returns the group for more."""
    group = parser.add_argument_group("workload")
    flag(group, "--dataset-name", "random", "{random,shared-prefix,jsonl,trace}", _DATASETS)
    flag(group, "--dataset-path", None, "FILE", "file of the jsonl or trace dataset", Path, "none")
    flag(group, "--num-prompts", 0, "N", "requests", number(0), "100, or the whole file")
    add_length_flags(group, "128", "64")
    flag(group, "--max-input-len", 0, "N", "cut longer prompts to N tokens", number(0), "do not cut")
    flag(group, "--max-output-len", 0, "N", "cut longer outputs to N tokens", number(0), "do not cut")
    flag(group, "--prefix-len", 64, "N", "shared-prefix: tokens of a prefix", number(0))
    flag(group, "--num-prefixes", 4, "N", "shared-prefix: distinct prefixes", number(1))
    return group


def workload_spec(args: argparse.Namespace, vocab_size: int, seed: int) -> WorkloadSpec:
    """Return the workload that the flags describe."""
    from penstock.bench.workload import WorkloadSpec

    return WorkloadSpec(
        dataset=args.dataset_name,
        path=args.dataset_path,
        count=args.num_prompts,
        input_len=args.input_len,
        output_len=args.output_len,
        max_input_len=args.max_input_len,
        max_output_len=args.max_output_len,
        prefix_len=args.prefix_len,
        groups=args.num_prefixes,
        vocab_size=vocab_size,
        seed=seed,
        rate=getattr(args, "request_rate", None),
        burstiness=getattr(args, "burstiness", 1.0),
        speed=getattr(args, "trace_speed", 1.0),
    )


def add_result_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add where results go; returns the group for more."""
    group = parser.add_argument_group("result")
    flag(
        group, "--save", "", "PATH", "write JSON to this file, or to a dated one in this folder", shown="none"
    )
    flag(group, "--note", "", "TEXT", "remark kept in the result's settings", shown="none")
    names = "--percentiles --metric-percentiles"
    flag(group, names, "90,99", "LIST", "nearest-rank percentiles besides the median")
    group.add_argument("--no-progress", action="store_true", help="no progress bar")
    return group


def percentiles_of(args: argparse.Namespace) -> list[float]:
    """Parse ``--percentiles``.

    Raises:
        ConfigError: not a list of numbers in (0, 100].
    """
    try:
        found = [float(part) for part in args.percentiles.split(",") if part.strip()]
    except ValueError:
        found = [0.0]
    if not all(0 < percent <= 100 for percent in found):
        raise ConfigError("--percentiles", f"expected numbers above 0 up to 100, got {args.percentiles!r}")
    return found


@contextmanager
def progress(args: argparse.Namespace, label: str, total: int) -> Iterator[Callable[[Record], None]]:
    """Show a bar that advances once per finished request; on stderr, so that output can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=args.no_progress or not console.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda record: bar.advance(task)
