"""Whether a run kept up with its load."""

from __future__ import annotations

import math

import numpy as np

POINTS = 128
Z = 2.326
"""One-sided 1 % point of the normal distribution."""
LEAST_GROWTH = 0.025
"""Of the arrivals seen: a search that stops at 2.5 % of the rate cannot resolve a slower drift."""


def backlog(arrivals: np.ndarray, ends: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return times [points] over the second half of the arrivals' span, and how many requests were open then.

    Args:
        arrivals: seconds [n], in any order.
        ends: seconds of those that ended [m], m <= n, in any order; who never ended is not in it.
    """
    arrivals, ends = np.sort(arrivals), np.sort(ends)
    begin, end = (float(arrivals[0]), float(arrivals[-1])) if len(arrivals) else (0.0, 0.0)
    times = np.linspace((begin + end) / 2, end, points)
    open_ = np.searchsorted(arrivals, times, side="right") - np.searchsorted(ends, times, side="right")
    return times, open_.astype(float)


def unstable(arrivals: np.ndarray, ends: np.ndarray) -> bool:
    """Return whether the backlog grew without end over the last half of the arrivals (one-sided test at 1 %).

    A line is fitted to the backlog. Queue lengths of neighbouring moments are alike, so the number of
    independent points is taken as n (1 - r) / (1 + r), with r the first autocorrelation of what the line
    leaves over. The growth must also exceed `LEAST_GROWTH` of the arrivals of that half. Fewer than 20
    arrivals decide nothing.
    """
    if len(arrivals) < 20 or float(np.ptp(arrivals)) <= 0:
        return False
    times, open_ = backlog(arrivals, ends)
    x = times - times.mean()
    spread = float((x * x).sum())
    slope = float((x * open_).sum()) / spread
    growth = slope * (times[-1] - times[0])
    if growth <= LEAST_GROWTH * len(arrivals) / 2:
        return False
    left = open_ - open_.mean() - slope * x
    variance = float((left * left).sum())
    if variance <= 1e-12:
        return True
    lag = float((left[1:] * left[:-1]).sum()) / variance
    independent = max(POINTS * (1 - lag) / (1 + lag), 3.0)
    error = math.sqrt(variance / (independent - 2) / spread)
    return slope > Z * error
