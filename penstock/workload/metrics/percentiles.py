"""Nearest-rank percentiles, and the way every figure is summed up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

PERCENTILES = (50.0, 90.0, 99.0)


def rank(percent: float, count: int) -> int:
    """Return the 0-based nearest rank: the smallest sample with at least ``percent`` % at or below it.

    Raises:
        ValueError: no samples, or a percentage outside (0, 100].
    """
    if not count or not 0 < percent <= 100:
        raise ValueError(f"need samples and a percentage in (0, 100], got {count} and {percent}")
    return max(math.ceil(percent / 100 * count - 1e-9), 1) - 1


def percentile(samples: Sequence[float] | np.ndarray, percent: float) -> float:
    """Return the nearest-rank percentile.

    Raises:
        ValueError: no samples, or a percentage outside (0, 100].
    """
    wanted = rank(percent, len(samples))
    return float(np.partition(np.asarray(samples, dtype=float), wanted)[wanted])


def keys(
    name: str, mean: float, deviation: float, points: dict[float, float], wanted: Sequence[float]
) -> dict[str, float]:
    """Return the figures of one metric in milliseconds, under their stable names."""
    result = {f"mean_{name}_ms": mean, f"median_{name}_ms": points[50.0], f"std_{name}_ms": deviation}
    result |= {f"p{percent:g}_{name}_ms": points[percent] for percent in wanted}
    return {key: value * 1000 for key, value in result.items()}


def summarise(
    name: str, samples: Sequence[float] | np.ndarray, percentiles: Iterable[float] = PERCENTILES
) -> dict[str, float]:
    """Return mean, standard deviation, median and percentiles of seconds, in milliseconds.

    Args:
        name: metric name put into the keys: ``mean_ttft_ms``, ``p99_ttft_ms``...
        samples: seconds; when empty, all values are 0.
        percentiles: percentages; 50 is reported as the median too.
    """
    wanted = list(percentiles)
    if not len(samples):
        return keys(name, 0.0, 0.0, dict.fromkeys([50.0, *wanted], 0.0), wanted)
    ordered = np.sort(np.asarray(samples, dtype=float))
    points = {percent: float(ordered[rank(percent, len(ordered))]) for percent in [50.0, *wanted]}
    return keys(name, float(ordered.mean()), float(ordered.std()), points, wanted)
