"""A histogram with bins of equal ratio: pooled gaps of a million requests in 20 kB, within half a per
cent."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from penstock.workload.metrics.percentiles import PERCENTILES, keys, rank

RATIO = 1.01
"""Upper over lower edge of a bin."""
LOWEST, HIGHEST = 1e-6, 1e5
_BINS = math.ceil(math.log(HIGHEST / LOWEST) / math.log(RATIO))


class LogHistogram:
    """Counts of seconds in 1 % bins from 1 us to 1e5 s; sum, squares, least and greatest are kept exactly."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS + 2, dtype=np.int64)
        """Entry 0 counts what is below 1 us (0 included), the last what is above 1e5 s."""
        self.count = 0
        self.total = 0.0
        self.squares = 0.0
        self.least = math.inf
        self.greatest = -math.inf

    def add(self, seconds: np.ndarray) -> None:
        """Count samples, float64 [n]."""
        if not len(seconds):
            return
        with np.errstate(divide="ignore"):
            bins = np.floor(np.log(np.maximum(seconds, 0.0) / LOWEST) / math.log(RATIO)) + 1
        self.counts += np.bincount(np.clip(bins, 0, _BINS + 1).astype(np.int64), minlength=_BINS + 2)
        self.count += len(seconds)
        self.total += float(seconds.sum())
        self.squares += float(np.square(seconds).sum())
        self.least = min(self.least, float(seconds.min()))
        self.greatest = max(self.greatest, float(seconds.max()))

    def percentile(self, percent: float) -> float:
        """Return the nearest-rank percentile, as the middle of its bin (by ratio), within the seen range."""
        wanted = rank(percent, self.count)
        index = int(np.searchsorted(np.cumsum(self.counts), wanted, side="right"))
        middle = 0.0 if index == 0 else LOWEST * RATIO ** (index - 0.5)
        return min(max(middle, self.least), self.greatest)

    def summarise(self, name: str, percentiles: Iterable[float] = PERCENTILES) -> dict[str, float]:
        """Return the same keys as `percentiles.summarise`."""
        wanted = list(percentiles)
        if not self.count:
            return keys(name, 0.0, 0.0, dict.fromkeys([50.0, *wanted], 0.0), wanted)
        mean = self.total / self.count
        deviation = math.sqrt(max(self.squares / self.count - mean**2, 0.0))
        points = {percent: self.percentile(percent) for percent in [50.0, *wanted]}
        return keys(name, mean, deviation, points, wanted)
