"""CSV traces and length tables: Azure, BurstGPT, prompt/output lengths."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np

from penstock.core.errors import ConfigError
from penstock.workload.readers.lines import Source, columns
from penstock.workload.request import TraceRequest

_LENGTHS = {
    "prompt": ("num_prefill_tokens", "prompt_tokens", "input_tokens", "input_toks", "ContextTokens"),
    "output": ("num_decode_tokens", "output_tokens", "output_toks", "GeneratedTokens"),
}


def azure(source: Source) -> Iterator[TraceRequest]:
    """Read the Azure LLM inference traces (2023, 2024 and later; columns that a year added are ignored).

    Columns ``TIMESTAMP`` (``2023-11-16 18:15:46.6805900``, with or without a zone), ``ContextTokens`` and
    ``GeneratedTokens``; arrivals begin at 0.
    """
    wanted = {name: (name,) for name in ("TIMESTAMP", "ContextTokens", "GeneratedTokens")}
    table = columns(source, wanted)
    time, prompt, output = (table.places[name] for name in wanted)
    begin: list[float] = []

    def convert(row: list[str]) -> TraceRequest | None:
        seconds = stamp(row[time])
        if not begin:
            begin.append(seconds)
        return source.request(seconds - begin[0], int(row[prompt]), int(row[output]))

    return table.read(source, convert)


def stamp(text: str) -> float:
    """Return seconds since the epoch of a stamp of up to nine decimals, UTC unless it names a zone."""
    whole, dot, rest = text.strip().partition(".")
    if not dot:
        base = datetime.fromisoformat(whole)
        return (base if base.tzinfo else datetime.fromisoformat(whole + "+00:00")).timestamp()
    digits = len(rest) - len(rest.lstrip("0123456789"))
    zone = rest[digits:] or "+00:00"
    return datetime.fromisoformat(whole + zone).timestamp() + float("0." + rest[:digits])


def burstgpt(source: Source) -> Iterator[TraceRequest]:
    """Read BurstGPT (KDD'25), with or without the columns ``Session ID`` and ``Elapsed time``.

    Rows without response tokens are failures: they are dropped and counted. A session becomes the program.
    """
    wanted = {
        "time": ("Timestamp",),
        "session": ("Session ID",),
        "prompt": ("Request tokens",),
        "output": ("Response tokens",),
    }
    table = columns(source, wanted, optional=("session",))
    time, prompt, output = (table.places[name] for name in ("time", "prompt", "output"))
    session = table.places.get("session")
    begin: list[float] = []

    def convert(row: list[str]) -> TraceRequest | None:
        seconds = float(row[time])
        if not begin:
            begin.append(seconds)
        program = row[session].strip() if session is not None else ""
        lengths = int(float(row[prompt])), int(float(row[output]))
        return source.request(seconds - begin[0], *lengths, program=f"session-{program}" if program else None)

    return table.read(source, convert)


def lengths(source: Source) -> Iterator[TraceRequest]:
    """Read a table of prompt and output lengths in the order of its rows; all arrive at 0."""
    table = columns(source, _LENGTHS)
    prompt, output = table.places["prompt"], table.places["output"]
    return table.read(
        source, lambda row: source.request(0.0, int(float(row[prompt])), int(float(row[output])))
    )


def length_arrays(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return prompt and output lengths of a table, int64 [rows] each, for `penstock.workload.lengths.Joint`.

    Raises:
        ConfigError: unreadable, or no rows.
    """
    pairs = [(request.prompt_tokens, request.output_tokens) for request in lengths(source)]
    if not pairs:
        raise ConfigError(source.field, f"{source.path} holds no lengths")
    table = np.array(pairs, dtype=np.int64)
    return table[:, 0], table[:, 1]
