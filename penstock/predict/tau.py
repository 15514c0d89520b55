"""Kendall's tau: how well two orders agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Values = Sequence[float] | np.ndarray


def kendall_tau(first: Values, second: Values) -> float:
    """Return Kendall's tau-b of two lists of n values, in [-1, 1]; 0 where one of them is constant.

    O(n^2) time in blocks, O(n) memory: meant for some thousands of values.
    """
    return _ratio(*(float(part.sum()) / 2 for part in _pairs(first, second)))


def tau_interval(first: Values, second: Values, z: float = 1.96) -> tuple[float, float, float]:
    """Return tau-b and the ends of its confidence interval, by the jackknife over items.

    Raises:
        ValueError: fewer than three items, or lists of different length.
    """
    agree_N, differ_x_N, differ_y_N = _pairs(first, second)
    n = len(agree_N)
    if n < 3:
        raise ValueError(f"three items are the least for an interval, got {n}")
    totals = [float(part.sum()) / 2 for part in (agree_N, differ_x_N, differ_y_N)]
    tau = _ratio(*totals)
    without = [
        _ratio(totals[0] - agree, totals[1] - differ_x, totals[2] - differ_y)
        for agree, differ_x, differ_y in zip(agree_N, differ_x_N, differ_y_N, strict=True)
    ]
    spread = z * float(np.sqrt((n - 1) * np.var(without)))
    return tau, max(-1.0, tau - spread), min(1.0, tau + spread)


def _pairs(first: Values, second: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per item, over its pairs: agreements less disagreements; pairs untied in one and the other."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(x) != len(y):
        raise ValueError(f"expected lists of equal length, got {len(x)} and {len(y)}")
    agree_N, differ_x_N, differ_y_N = (np.zeros(len(x)) for _ in range(3))
    for i in range(len(x)):
        dx, dy = np.sign(x - x[i]), np.sign(y - y[i])
        agree_N[i] = dx @ dy
        differ_x_N[i], differ_y_N[i] = np.abs(dx).sum(), np.abs(dy).sum()
    return agree_N, differ_x_N, differ_y_N


def _ratio(agree: float, differ_x: float, differ_y: float) -> float:
    scale = (differ_x * differ_y) ** 0.5
    return float(agree / scale) if scale else 0.0
