"""Recorded requests with their prompts: what a ranker learns from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from penstock.core.errors import ConfigError


class Sample(NamedTuple):
    """A prompt and how long its answer got."""

    prompt_ids: tuple[int, ...]
    output_tokens: int


Encode = Callable[[dict[str, Any]], tuple[int, ...]]
"""From an object with ``prompt`` (text) or ``messages`` to token ids."""


def read_traffic(path: Path, encode: Encode | None = None) -> list[Sample]:
    """Read JSON lines: ``{"prompt_ids": [...], "output_tokens": 12}``.

    In place of ``prompt_ids`` there may be ``prompt`` (text) or ``messages`` (a conversation), if ``encode``
    is given. Further fields are ignored; lines without an answer (0 tokens) are left out.

    Raises:
        ConfigError: the file cannot be read, names a line that is not of this form, or holds fewer than two.
    """
    samples = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError("traffic", f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            ids = row["prompt_ids"] if "prompt_ids" in row else _encoded(row, encode)
            sample = Sample(tuple(map(int, ids)), int(row["output_tokens"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                "traffic",
                f"line {number} of {path}: expected an object with prompt_ids (or prompt, or messages) and "
                f"output_tokens ({type(error).__name__}: {error})",
            ) from error
        if sample.output_tokens > 0 and sample.prompt_ids:
            samples.append(sample)
    if len(samples) < 2:
        raise ConfigError("traffic", f"{path} holds {len(samples)} answered requests; two are the least")
    return samples


def _encoded(row: dict[str, Any], encode: Encode | None) -> tuple[int, ...]:
    if encode is None or not ("prompt" in row or "messages" in row):
        raise KeyError("prompt_ids")
    return encode(row)


def write_traffic(path: Path, samples: Iterable[Sample]) -> int:
    """Write JSON lines and return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for sample in samples:
            row = {"prompt_ids": list(sample.prompt_ids), "output_tokens": sample.output_tokens}
            file.write(json.dumps(row) + "\n")
            count += 1
    return count
