"""Objectives: who met them, and how far from met they were."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from penstock.core.request import SLO
from penstock.workload.metrics.percentiles import percentile

PROMPT_TOKENS_PER_SECOND = 512.0
"""DeepSpeed-FastGen: a prompt of n tokens is to be answered within n / 512 s."""
EMA = 0.1
"""Weight of the newest gap; FastGen does not publish its own."""


def meets_own(slo: SLO, arrival: float, first: float, last: float, output: int) -> bool:
    """Return whether a finished request met its own objectives; an undefined TPOT violates nothing."""
    if slo.ttft is not None and first - arrival > slo.ttft:
        return False
    if slo.deadline is not None and last - arrival > slo.deadline:
        return False
    return slo.tpot is None or output < 2 or (last - first) / (output - 1) <= slo.tpot


def attained(metrics: Mapping[str, np.ndarray], limits: Mapping[str, float]) -> np.ndarray:
    """Return who met every limit, bool [n]; an undefined value (nan) violates nothing.

    Args:
        metrics: seconds [n] by name, of requests that finished.
        limits: seconds by name.
    """
    count = len(next(iter(metrics.values())))
    met = np.ones(count, dtype=bool)
    for name, limit in limits.items():
        met &= ~(metrics[name] > limit)
    return met


def needed_scale(
    metrics: Mapping[str, np.ndarray], limits: Mapping[str, float], failed: int, share: float
) -> float:
    """Return the least factor on all limits at which ``share`` of the requests meet them (DistServe's SLO
    scale).

    Exact for a run whose schedule does not depend on the limits; infinite when too many requests failed.
    """
    count = len(next(iter(metrics.values())))
    scales = np.zeros(count)
    for name, limit in limits.items():
        scales = np.fmax(scales, metrics[name] / limit)
    every = np.concatenate([scales, np.full(failed, math.inf)])
    return percentile(every, 100 * share) if len(every) else math.inf


def effective(
    arrival: float, times: Sequence[float], prompt_tokens: int, rate: float, weight: float = EMA
) -> bool:
    """Return whether a request counts for FastGen's effective rate.

    Its first token came within ``prompt_tokens / 512`` s, and the moving average of its gaps never exceeded
    ``1 / rate``.

    Args:
        arrival, times: seconds; the latter of each token.
        prompt_tokens: length of the prompt.
        rate: tokens per second that a reader needs (2, 4 and 6 in the paper).
        weight: of the newest gap in the moving average.
    """
    if not times or times[0] - arrival > prompt_tokens / PROMPT_TOKENS_PER_SECOND:
        return False
    average = math.nan
    for earlier, later in itertools.pairwise(times):
        gap = later - earlier
        average = gap if math.isnan(average) else average + weight * (gap - average)
        if average > 1 / rate:
            return False
    return True
