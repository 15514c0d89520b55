"""When requests are due: seconds from the start of the run, ascending, deterministic by seed.

Gaps are unit-mean draws, and a process maps their running sum to seconds. Two runs with one seed and
different rates therefore see the same pattern, faster or slower, which makes their comparison sharp (common
random numbers). A process whose rate changes over time (`OnOff`, `Ramp`, `Diurnal`) keeps its schedule and
gets more or fewer requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from penstock.core.errors import ConfigError

_BLOCK = 4096


class Arrivals(Protocol):
    """An arrival process."""

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """Yield due times in ascending order, without end."""
        ...


def check_positive(**values: float) -> None:
    """Refuse parameters that must be finite numbers above 0.

    Raises:
        ConfigError: names the parameter.
    """
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"workload.{name}", f"expected a number above 0, got {value:g}")


def unit_times(cv: float, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield blocks of the running sum of unit-mean Gamma gaps with coefficient of variation ``cv``; first
    0."""
    shape, base = (1 / cv**2 if cv else 0.0), 0.0
    first = True
    while True:
        gaps = rng.gamma(shape, 1 / shape, _BLOCK) if shape else np.ones(_BLOCK)
        if first:
            gaps[0], first = 0.0, False
        sums = base + np.cumsum(gaps)
        base = float(sums[-1])
        yield sums


@dataclass(frozen=True, slots=True)
class Gamma:
    """Gamma gaps: cv 1 is a Poisson process, above 1 bursty, 0 evenly spaced. Infinite rate: all at 0."""

    rate: float
    cv: float = 1.0

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """See `Arrivals`."""
        if math.isinf(self.rate):
            while True:
                yield 0.0
        for block in unit_times(self.cv, rng):
            yield from (block / self.rate).tolist()


@dataclass(frozen=True, slots=True)
class OnOff:
    """Gamma arrivals at ``rate`` for ``on`` seconds, then none for ``off`` seconds, and again."""

    rate: float
    on: float
    off: float
    cv: float = 1.0

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """See `Arrivals`."""
        for block in unit_times(self.cv, rng):
            busy = block / self.rate
            yield from (busy + np.floor(busy / self.on) * self.off).tolist()


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rate that goes evenly from ``start`` to ``end`` within ``over`` seconds and stays there."""

    start: float
    end: float
    over: float
    cv: float = 1.0

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """See `Arrivals`; the integral of the rate, start t + slope t^2 / 2, is inverted."""
        slope = (self.end - self.start) / self.over
        ramped = (self.start + self.end) / 2 * self.over
        for block in unit_times(self.cv, rng):
            inside = np.minimum(block, ramped)
            root = np.sqrt(np.maximum(self.start**2 + 2 * slope * inside, 0.0))
            # This form of the root has no cancellation for a slope near 0.
            times = np.where(inside > 0, 2 * inside / np.maximum(self.start + root, 1e-300), 0.0)
            yield from (times + (block - inside) / self.end).tolist()


@dataclass(frozen=True, slots=True)
class Diurnal:
    """A rate that swings as ``rate * (1 - swing * cos(2 pi t / period))``: quiet first, busiest half a
    period in."""

    rate: float
    swing: float = 0.8
    period: float = 86400.0
    cv: float = 1.0

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """See `Arrivals`; the integral of the rate is inverted on a grid of 8192 points a period."""
        grid = np.linspace(0.0, 1.0, 8193)
        area = grid - self.swing * np.sin(2 * math.pi * grid) / (2 * math.pi)
        for block in unit_times(self.cv, rng):
            periods = block / (self.rate * self.period)
            whole = np.floor(periods)
            yield from ((whole + np.interp(periods - whole, area, grid)) * self.period).tolist()


@dataclass(frozen=True, slots=True)
class Windows:
    """The generator of BurstGPT (KDD'25): within each window Gamma gaps of that window's shape and rate
    parameter.

    Mean gap of a window is ``shape / rate parameter``, the coefficient of variation 1 / sqrt(shape). After
    the last window, gaps are Gamma(0.5, scale 2). Windows shrink with ``speed`` too, so that speed only
    rescales.
    """

    shapes: Sequence[float] = (0.25,)
    betas: Sequence[float] = (2.0,)
    window: float = 60.0
    speed: float = 1.0
    repeat: bool = True
    """Begin again after the last window instead of falling to Gamma(0.5, scale 2)."""

    def times(self, rng: np.random.Generator) -> Iterator[float]:
        """See `Arrivals`."""
        time, count = 0.0, min(len(self.shapes), len(self.betas))
        yield time
        while True:
            index = int(time / self.window)
            if index < count or self.repeat:
                time += rng.gamma(self.shapes[index % count], 1 / self.betas[index % count])
            else:
                time += rng.gamma(0.5, 2.0)
            yield time / self.speed


def gamma_arrivals(count: int, rate: float, burstiness: float, rng: np.random.Generator) -> list[float]:
    """Return due times whose gaps follow a Gamma distribution.

    Args:
        count: number of requests; the first is due at 0.
        rate: requests per second, > 0; infinity makes all due at once.
        burstiness: shape of the Gamma. 1 is a Poisson process, below 1 burstier, above 1 more regular; the
            coefficient of variation of the gaps is ``1 / sqrt(burstiness)``.
        rng: source of chance.
    """
    if math.isinf(rate):
        return [0.0] * count
    gaps = rng.gamma(burstiness, 1 / burstiness, count)
    gaps[:1] = 0.0
    return [float(due) for due in np.cumsum(gaps) / rate]


def replay(times: Sequence[float], speed: float = 1.0) -> list[float]:
    """Return recorded times shifted to begin at 0 and played ``speed`` times as fast."""
    return [(time - times[0]) / speed for time in times]
