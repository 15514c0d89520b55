"""Distributions of token counts, given as one word: ``128``, ``uniform:64:256``, ``lognormal:200:0.8``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from penstock.core.errors import ConfigError

_FORMS = "a number, uniform:LOW:HIGH or lognormal:MEAN:SIGMA"


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of whole numbers of tokens, at least 1."""

    kind: str
    """fixed, uniform or lognormal."""
    first: float
    """The fixed value, the lower end, or the mean."""
    second: float = 0.0
    """The upper end (inclusive), or the standard deviation of the logarithm."""
    longest: int = 0
    """Samples are clipped to it; 0 does not clip."""

    def sample(self, rng: np.random.Generator, count: int) -> list[int]:
        """Draw ``count`` lengths. A lognormal sample is rounded after drawing, so its mean is kept."""
        if self.kind == "fixed":
            drawn = np.full(count, self.first)
        elif self.kind == "uniform":
            drawn = rng.integers(int(self.first), int(self.second), count, endpoint=True).astype(float)
        else:
            # The mean of a lognormal is exp(mu + sigma^2 / 2).
            mu = math.log(self.first) - self.second**2 / 2
            drawn = np.rint(rng.lognormal(mu, self.second, count))
        clipped = np.clip(drawn, 1, self.longest or None)
        return [int(value) for value in clipped]


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
    try:
        numbers = [float(part) for part in rest]
    except ValueError:
        numbers = []
    wanted = {"fixed": 1, "uniform": 2, "lognormal": 2}.get(kind)
    if wanted is None or len(numbers) != wanted or not all(math.isfinite(number) for number in numbers):
        raise ConfigError(field, f"expected {_FORMS}, got {text!r}")
    whole = numbers[: 1 if kind == "lognormal" else 2]
    if numbers[0] < 1 or (kind != "lognormal" and any(number != int(number) for number in whole)):
        raise ConfigError(field, f"expected whole numbers of tokens >= 1, got {text!r}")
    if kind == "uniform" and numbers[1] < numbers[0]:
        raise ConfigError(field, f"expected LOW <= HIGH, got {text!r}")
    if kind == "lognormal" and numbers[1] < 0:
        raise ConfigError(field, f"expected SIGMA >= 0, got {text!r}")
    return Lengths(kind, numbers[0], numbers[-1], longest)
