"""Distributions of token counts, given as one word: ``128``, ``uniform:64:256``, ``lognormal:200:0.8``...

`Pairs` draws prompt and output lengths together: independently, or as the joint rows of a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from penstock.core.errors import ConfigError

_FORMS = (
    "a number, uniform:LOW:HIGH, lognormal:MEAN:SIGMA, normal:MEAN:DEVIATION, zipf:MEAN:EXPONENT "
    "or burstgpt:EXPONENT:LIMIT"
)
_NUMBERS = {"fixed": 1, "uniform": 2, "lognormal": 2, "normal": 2, "zipf": 2, "burstgpt": 2}
LLUMNIX_EXPONENTS = {128: 2.0, 256: 1.5, 512: 1.15, 1024: 1.0005}
"""Exponents of Llumnix' (OSDI'24) generated lengths by their mean, for ``zipf``."""
LLUMNIX_LONGEST = 6144
_BLOCK = 4096


@lru_cache(maxsize=64)
def _power_law(exponent: float, ranks: int) -> tuple[np.ndarray, float]:
    """Return cumulative probabilities of ranks 1..n with p ~ rank^-exponent, and the mean rank."""
    weights = np.arange(1, ranks + 1, dtype=float) ** -exponent
    weights /= weights.sum()
    return np.cumsum(weights), float((weights * np.arange(1, ranks + 1)).sum())


def _ranks(exponent: float, ranks: int, count: int, rng: np.random.Generator) -> np.ndarray:
    cumulative, _ = _power_law(exponent, ranks)
    return np.minimum(np.searchsorted(cumulative, rng.random(count), side="right"), ranks - 1) + 1.0


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of whole numbers of tokens, at least 1."""

    kind: str
    """fixed, uniform, lognormal, normal, zipf or burstgpt."""
    first: float
    """The fixed value, the lower end, the mean, or (burstgpt) the exponent."""
    second: float = 0.0
    """The upper end (inclusive), the deviation (lognormal: of the logarithm), the exponent, or (burstgpt) a
    limit."""
    longest: int = 0
    """Samples are clipped to it; 0 does not clip."""

    def sample(self, rng: np.random.Generator, count: int) -> list[int]:
        """Draw ``count`` lengths. A lognormal sample is rounded after drawing, so its mean is kept."""
        return self.array(rng, count).tolist()  # type: ignore[no-any-return]

    def array(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw ``count`` lengths as int64 [count]."""
        drawn = self._draw(rng, count)
        clipped: np.ndarray = np.clip(drawn, 1, self.longest or None).astype(np.int64)
        return clipped

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        if self.kind == "fixed":
            return np.full(count, self.first)
        if self.kind == "uniform":
            return rng.integers(int(self.first), int(self.second), count, endpoint=True).astype(float)
        if self.kind == "normal":
            return np.rint(rng.normal(self.first, self.second, count))
        if self.kind == "zipf":
            # Llumnix: a power law over ranks 1..2 mean, stretched to the mean that was asked for.
            ranks = int(2 * self.first)
            drawn = _ranks(self.second, ranks, count, rng) * (self.first / _power_law(self.second, ranks)[1])
            return np.minimum(np.rint(drawn), self.longest or LLUMNIX_LONGEST)
        if self.kind == "burstgpt":
            # Redrawing until a Zipf number is below the limit leaves just this law; half the mass sits at a
            # few.
            return _ranks(self.first, int(self.second) - 1, count, rng)
        # The mean of a lognormal is exp(mu + sigma^2 / 2).
        mu = math.log(self.first) - self.second**2 / 2
        return np.rint(rng.lognormal(mu, self.second, count))


def parse_lengths(text: str, field: str, longest: int = 0) -> Lengths:
    """Read a distribution from its word.

    Args:
        text: see the top of this module.
        field: flag to name in errors.
        longest: clip samples to this many tokens; 0 does not clip.

    Raises:
        ConfigError: unreadable, or numbers that make no sense.
    """
    kind, *rest = text.split(":")
    if not rest:
        kind, rest = "fixed", [text]
    if kind == "zipf" and len(rest) == 1 and rest[0].isdigit() and int(rest[0]) in LLUMNIX_EXPONENTS:
        rest.append(str(LLUMNIX_EXPONENTS[int(rest[0])]))
    try:
        numbers = [float(part) for part in rest]
    except ValueError:
        numbers = []
    wanted = _NUMBERS.get(kind)
    if wanted is None or len(numbers) != wanted or not all(math.isfinite(number) for number in numbers):
        raise ConfigError(field, f"expected {_FORMS}, got {text!r}")
    _check(kind, numbers, text, field)
    return Lengths(kind, numbers[0], numbers[-1], longest)


def _check(kind: str, numbers: list[float], text: str, field: str) -> None:
    if kind == "burstgpt":
        if numbers[0] <= 0 or numbers[1] < 2 or numbers[1] != int(numbers[1]):
            raise ConfigError(field, f"expected EXPONENT > 0 and a whole LIMIT >= 2, got {text!r}")
        return
    whole = numbers[: 2 if kind == "uniform" else 1]
    if numbers[0] < 1 or (kind in ("fixed", "uniform", "zipf") and any(n != int(n) for n in whole)):
        raise ConfigError(field, f"expected whole numbers of tokens >= 1, got {text!r}")
    if kind == "uniform" and numbers[1] < numbers[0]:
        raise ConfigError(field, f"expected LOW <= HIGH, got {text!r}")
    if kind in ("lognormal", "normal", "zipf") and numbers[1] < 0:
        second = {"lognormal": "SIGMA", "normal": "DEVIATION", "zipf": "EXPONENT"}[kind]
        raise ConfigError(field, f"expected {second} >= 0, got {text!r}")


class Pairs(Protocol):
    """A joint distribution of prompt and output lengths."""

    def draws(self, seed: np.random.SeedSequence) -> Iterator[tuple[int, int]]:
        """Yield (prompt, output) lengths, each at least 1, without end."""
        ...


@dataclass(frozen=True, slots=True)
class Independent:
    """Prompt and output lengths that know nothing of each other; each has a stream of chance of its own."""

    prompt: Lengths
    output: Lengths

    def draws(self, seed: np.random.SeedSequence) -> Iterator[tuple[int, int]]:
        """See `Pairs`."""
        inputs, outputs = (np.random.default_rng(child) for child in seed.spawn(2))
        while True:
            yield from zip(
                self.prompt.sample(inputs, _BLOCK), self.output.sample(outputs, _BLOCK), strict=True
            )


@dataclass(frozen=True, slots=True)
class Joint:
    """Rows of a table, drawn with replacement; a row's prompt and output stay together.

    Args:
        prompts, outputs: int64 [rows].
    """

    prompts: np.ndarray
    outputs: np.ndarray

    def draws(self, seed: np.random.SeedSequence) -> Iterator[tuple[int, int]]:
        """See `Pairs`."""
        rng = np.random.default_rng(seed)
        while True:
            rows = rng.integers(0, len(self.prompts), _BLOCK)
            yield from zip(self.prompts[rows].tolist(), self.outputs[rows].tolist(), strict=True)
