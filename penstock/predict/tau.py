"""Kendall's tau: how well two orders agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def kendall_tau(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Return Kendall's tau-b of two lists of n values, in [-1, 1]; 0 where one of them is constant.

    O(n^2) time in blocks, O(n) memory: meant for some thousands of values.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(x) != len(y):
        raise ValueError(f"expected lists of equal length, got {len(x)} and {len(y)}")
    agree = differ_x = differ_y = 0.0
    for i in range(len(x) - 1):
        dx, dy = np.sign(x[i + 1 :] - x[i]), np.sign(y[i + 1 :] - y[i])
        agree += float(dx @ dy)
        differ_x += float(np.abs(dx).sum())
        differ_y += float(np.abs(dy).sum())
    scale = (differ_x * differ_y) ** 0.5
    return agree / scale if scale else 0.0
