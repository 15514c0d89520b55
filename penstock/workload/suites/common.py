"""What suites share: lengths and options given as words, and shorthands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penstock.core.errors import ConfigError
from penstock.core.request import SLO
from penstock.workload.lengths import Independent, Joint, Pairs, parse_lengths
from penstock.workload.readers.lines import Source
from penstock.workload.readers.tables import length_arrays

DEFAULT_COUNT = 1000


def pairs(prompt: str, output: str, table: str = "", longest: int = 0) -> Pairs:
    """Return the joint lengths: rows of a table if one is named, else two independent distributions.

    Args:
        prompt, output: words of `penstock.workload.lengths`.
        table: path of a CSV of lengths.
        longest: clips each of the two; 0 does not.
    """
    if table:
        prompts, outputs = length_arrays(Source(Path(table), field="workload.lengths"))
        most = longest or None
        return Joint(np.clip(prompts, 1, most), np.clip(outputs, 1, most))
    return Independent(
        parse_lengths(prompt, "workload.prompt", longest), parse_lengths(output, "workload.output", longest)
    )


def fixed(prompt: int, output: int) -> Pairs:
    """Return lengths that are always the same."""
    return pairs(str(prompt), str(output))


def numbers(text: str, field: str) -> tuple[float, ...]:
    """Return numbers above 0 separated by slashes."""
    try:
        values = tuple(float(part) for part in text.split("/"))
    except ValueError:
        values = ()
    if not values or not all(value > 0 and math.isfinite(value) for value in values):
        raise ConfigError(field, f"expected numbers above 0 separated by slashes, got {text!r}")
    return values


def objectives(ttft: float, tpot: float, deadline: float) -> SLO | None:
    """Return objectives of seconds, 0 meaning none."""
    if not (ttft or tpot or deadline):
        return None
    return SLO(ttft=ttft or None, tpot=tpot or None, deadline=deadline or None)


def drawn(word: str, field: str, seed: np.random.SeedSequence) -> Iterator[int]:
    """Yield lengths of a distribution given as a word, without end."""
    lengths, rng = parse_lengths(word, field), np.random.default_rng(seed)
    while True:
        yield from lengths.sample(rng, 1024)


def seconds(mean: float, sigma: float, seed: np.random.SeedSequence) -> Iterator[float]:
    """Yield lognormal times of a mean, without end; sigma 0 makes them all alike."""
    rng = np.random.default_rng(seed)
    while True:
        if mean <= 0:
            yield 0.0
            continue
        yield from rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, 1024).tolist()
