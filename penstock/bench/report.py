"""Result files and the tables printed from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.bench.machine import command_line, machine, versions
from penstock.core.errors import ConfigError
from penstock.workload.metrics.records import Record

FORMAT = 1
"""Raised when a key changes its meaning."""


def envelope(kind: str, settings: Mapping[str, Any], *, devices: bool = False) -> dict[str, Any]:
    """Return the part that every result file shares: what was run, with what, on what, when.

    Args:
        kind: serve, throughput, latency...
        settings: every knob that decided the result.
        devices: also name accelerators (imports torch).
    """
    return {
        "format": FORMAT,
        "kind": kind,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "settings": dict(settings),
        "versions": versions(),
        "machine": machine(devices=devices),
    }


def result_path(save: str, kind: str, field: str = "--save") -> Path:
    """Return where a result goes: the ``.json`` file itself, or a dated name inside a folder.

    Raises:
        ConfigError: the place cannot be written to.
    """
    path = Path(save)
    if path.suffix != ".json":
        path = path / f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(field, f"cannot write to {path.parent}: {error.strerror}") from None
    return path


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as indented JSON; refuses values that are not numbers, so a NaN cannot slip through."""
    path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def details(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return the per-request lists, index by index the same request; times in seconds from the first one."""
    start = min((record.arrival for record in records), default=0.0)
    return {
        "start_times": [record.arrival - start for record in records],
        "input_lens": [record.prompt_tokens for record in records],
        "output_lens": [record.output_tokens for record in records],
        "ttfts": [record.ttft if record.ok else None for record in records],
        "itls": [record.itl for record in records],
        "e2els": [record.e2el if record.ok else None for record in records],
        "generated_texts": [record.text for record in records],
        "finish_reasons": [record.finish_reason for record in records],
        "errors": [record.error or "" for record in records],
    }


def print_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print two columns under a title."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(name, value)
    Console().print(table)


def latency_table(figures: Mapping[str, Any], percentiles: Sequence[float]) -> None:
    """Print TTFT, TPOT, ITL and E2E, one row each, in milliseconds."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Latency (ms, nearest-rank percentiles)", title_justify="left")
    points = ["mean", "median", *(f"p{percent:g}" for percent in percentiles if percent != 50)]
    table.add_column("")
    for point in points:
        table.add_column(point, justify="right")
    names = {
        "ttft": "TTFT  time to first token",
        "tpot": "TPOT  per token after it",
        "itl": "ITL   gap between chunks",
        "e2el": "E2E   whole request",
    }
    for key, label in names.items():
        table.add_row(label, *(f"{figures[f'{point}_{key}_ms']:.2f}" for point in points))
    Console().print(table)


def serve_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of a serving run's summary."""
    rows = [
        ("requests completed", f"{figures['completed']}"),
        ("requests failed", f"{figures['failed']}"),
        ("duration", f"{figures['duration']:.2f} s"),
        ("peak requests in flight", f"{figures['max_concurrent_requests']}"),
        ("prompt tokens (cached)", f"{figures['total_input_tokens']} ({figures['total_cached_tokens']})"),
        ("output tokens", f"{figures['total_output_tokens']}"),
        ("request throughput", f"{figures['request_throughput']:.2f} requests/s"),
        ("output throughput", f"{figures['output_throughput']:.2f} tokens/s"),
        ("total throughput", f"{figures['total_token_throughput']:.2f} tokens/s"),
        ("client delay, p99", f"{figures['p99_client_delay_ms']:.2f} ms"),
    ]
    if "request_goodput" in figures:
        rows.append(("goodput", f"{figures['request_goodput']:.2f} requests/s"))
        rows.append(("objectives met", f"{100 * figures['slo_attainment']:.1f} %"))
    return rows
