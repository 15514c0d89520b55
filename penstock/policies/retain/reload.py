"""How long a context takes to compute again: from the cost model, or fitted to what was seen."""

from __future__ import annotations

from collections import deque

import numpy as np

from penstock.core.policy import StepCost
from penstock.cost.model import prefill_shape

_LEAST = 8
"""Observations that a fit needs."""
_EVERY = 16
"""Observations between two fits."""


def reload_seconds(cost: StepCost, tokens: int, budget: int) -> float:
    """Return the seconds that a context takes to prefill alone, in chunks of the step budget."""
    return sum(
        cost.step(prefill_shape(start, min(budget, tokens - start))) for start in range(0, tokens, budget)
    )


class ReloadFit:
    """Seconds from admission to first token as a quadratic in tokens, for engines whose cost is not known.

    Measured among whatever else runs, which is what a return would meet too.

    Args:
        window: observations remembered.
    """

    def __init__(self, window: int) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=max(window, _LEAST))
        self._started: dict[int, tuple[int, float]] = {}
        self._since = 0
        self._linear = self._square = 0.0

    def start(self, number: int, tokens: int, now: float) -> None:
        """Start the watch on a sequence that has so many tokens to compute."""
        self._started[number] = (tokens, now)

    def stop(self, number: int, now: float) -> None:
        """Stop it at the sequence's first token; later ones change nothing."""
        started = self._started.pop(number, None)
        if started is None:
            return
        self._seen.append((started[0], now - started[1]))
        self._since += 1
        if len(self._seen) >= _LEAST and (self._since >= _EVERY or not self._linear + self._square):
            self._refit()

    def forget(self, number: int) -> None:
        """Drop the watch on a sequence that left."""
        self._started.pop(number, None)

    def _refit(self) -> None:
        self._since = 0
        n, t = np.array(self._seen, dtype=float).T
        linear, square = np.linalg.lstsq(np.stack([n, n * n], axis=1), t, rcond=None)[0]
        if square < 0.0:
            linear, square = float(n @ t / (n @ n)), 0.0
        elif linear < 0.0:
            linear, square = 0.0, float((n * n) @ t / ((n * n) @ (n * n)))
        self._linear, self._square = float(linear), float(square)

    def seconds(self, tokens: int) -> float:
        """Return the fit's answer; 0 before there is one."""
        return self._linear * tokens + self._square * tokens * tokens
