"""Least squares with coefficients that are not negative (Lawson and Hanson 1974, chapter 23)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nnls(a: Array, b: Array, tolerance: float = 1e-10) -> Array:
    """Return x >= 0 that minimises ``|a x - b|``.

    Args:
        a: [rows, columns]; columns of similar size converge best.
        b: [rows].
        tolerance: a gradient below this share of the largest entry of ``a.T @ b`` counts as zero.
    """
    gram, target = a.T @ a, a.T @ b
    columns = len(target)
    x = np.zeros(columns)
    free = np.zeros(columns, dtype=bool)
    small = tolerance * max(float(np.abs(target).max(initial=0.0)), 1e-300)
    for _ in range(10 * columns + 10):
        gradient = target - gram @ x
        gradient[free] = -np.inf
        best = int(gradient.argmax())
        if gradient[best] <= small:
            break
        free[best] = True
        while True:
            trial = np.zeros(columns)
            trial[free] = np.linalg.lstsq(gram[np.ix_(free, free)], target[free], rcond=None)[0]
            below = free & (trial <= 0)
            if not below.any():
                x = trial
                break
            # Go as far towards the trial as the first coefficient to vanish allows, and fix that one at 0.
            share = float(np.min(x[below] / np.maximum(x[below] - trial[below], 1e-300)))
            x = x + share * (trial - x)
            free &= x > small * 1e-6
            x[~free] = 0.0
            if not free.any():
                break
    return x
