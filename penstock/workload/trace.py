"""Readers of request traces: the Azure 2023 CSV schema and our own JSON lines.

CSV: ``TIMESTAMP,ContextTokens,GeneratedTokens`` with timestamps like ``2023-11-16 18:15:46.6805900``.
JSON lines: ``{"arrival": seconds, "prompt_tokens": n, "output_tokens": n}``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from penstock.core.errors import ConfigError

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class TraceRow(NamedTuple):
    """One recorded request."""

    arrival: float
    """Seconds; only differences between rows mean anything."""
    prompt_tokens: int
    output_tokens: int


def read_trace(path: Path, limit: int = 0, field: str = "--dataset-path") -> list[TraceRow]:
    """Read the first rows of a trace, in order of arrival; rows without output tokens are dropped.

    Args:
        path: ``.csv`` or ``.jsonl``.
        limit: rows wanted; 0 takes all.
        field: flag to name in errors.

    Raises:
        ConfigError: missing file, unknown schema, or a line that cannot be read (it is numbered).
    """
    if path.suffix not in (".csv", ".jsonl"):
        raise ConfigError(field, f"expected a .csv or .jsonl trace, got {str(path)!r}")
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _azure(file, path, field) if path.suffix == ".csv" else _json_lines(file, path, field)
            for row in lines:
                if row.output_tokens > 0 and row.prompt_tokens > 0:
                    rows.append(row)
                if limit and len(rows) == limit:
                    break
    except OSError as error:
        raise ConfigError(field, f"cannot read {path}: {error.strerror}") from None
    if not rows:
        raise ConfigError(field, f"{path} holds no requests")
    return sorted(rows, key=lambda row: row.arrival)


def _azure(file: Iterator[str], path: Path, field: str) -> Iterator[TraceRow]:
    reader = csv.DictReader(file)
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ConfigError(field, f"{path} lacks the column {missing[0]}; expected {', '.join(_COLUMNS)}")
    for row in reader:
        try:
            yield TraceRow(_seconds(row["TIMESTAMP"]), int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        except (TypeError, ValueError) as error:
            raise ConfigError(field, f"{path} line {reader.line_num}: {error}") from None


def _seconds(stamp: str) -> float:
    """Return seconds since the epoch of a stamp with seven decimals, one more than datetime reads."""
    whole, _, fraction = stamp.partition(".")
    base = datetime.fromisoformat(whole + "+00:00").timestamp()
    return base + (float("0." + fraction) if fraction else 0.0)


def _json_lines(file: Iterator[str], path: Path, field: str) -> Iterator[TraceRow]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield TraceRow(float(row["arrival"]), int(row["prompt_tokens"]), int(row["output_tokens"]))
        except (TypeError, ValueError, KeyError) as error:
            expected = "expected arrival, prompt_tokens and output_tokens"
            raise ConfigError(field, f"{path} line {number}: {expected} ({error!r})") from None
