"""How long to keep something that may be wanted again: the rule of Continuum, from observed durations.

Source: "Continuum" (arXiv 2511.02230). Its public preview leaves the estimation out; this is the model of
the paper as others have reconstructed it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from sortedcontainers import SortedList

PRIOR_MEAN = 1.0
"""Seconds; mean of the exponential durations assumed before there are any."""


class Window:
    """The newest durations, sorted.

    Args:
        size: how many are kept.
    """

    def __init__(self, size: int) -> None:
        self._newest: deque[float] = deque()
        self._size = size
        self.sorted: SortedList = SortedList()
        """The durations kept, seconds, ascending."""
        self.seen = 0
        """Durations ever observed."""

    def add(self, seconds: float) -> None:
        """Observe one."""
        self.seen += 1
        self._newest.append(seconds)
        self.sorted.add(seconds)
        if len(self._newest) > self._size:
            self.sorted.remove(self._newest.popleft())


def best_lifetime(durations: Sequence[float], benefit: float, *, expected: bool = False) -> float:
    """Return the time to live of the largest net gain: argmax over 0 and the durations of F(t) * B - cost(t).

    Ties go to the shorter time. O(durations).

    Args:
        durations: observed, seconds, ascending.
        benefit: B, the seconds gained if it is still there when wanted.
        expected: charge the time that it is held on average, E[min(D, t)], rather than all of ``t``.
    """
    n = len(durations)
    best, gain, before = 0.0, 0.0, 0.0
    for i, t in enumerate(durations):
        before += t
        if i + 1 < n and durations[i + 1] == t:
            continue
        cost = (before + (n - i - 1) * t) / n if expected else t
        net = (i + 1) / n * benefit - cost
        if net > gain:
            best, gain = t, net
    return best


def prior_lifetime(benefit: float, mean: float = PRIOR_MEAN, *, expected: bool = False) -> float:
    """Return the same for exponentially distributed durations, in closed form.

    With the whole time charged the optimum is ``mean * ln(B / mean)``. With the expected time charged the
    gain is (1 - exp(-t / mean)) * (B - mean): the longer the better where B exceeds the mean, so all but one
    in a thousand are waited for.
    """
    if benefit <= mean:
        return 0.0
    return mean * math.log(1000.0 if expected else benefit / mean)


class TurnCorrelation:
    """How surely a program that has come far is near its end: -Pearson(k, N - k) over finished programs.

    k is a turn's place and N the turns of its program; 1 where every program has as many turns.

    Args:
        size: programs remembered.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._programs: deque[int] = deque()
        self._count = 0
        self._k = self._r = self._kk = self._rr = self._kr = 0.0

    def add(self, turns: int) -> None:
        """Take note of a finished program of so many turns."""
        self._programs.append(turns)
        self._put(turns, 1)
        if len(self._programs) > self._size:
            self._put(self._programs.popleft(), -1)

    def _put(self, n: int, sign: int) -> None:
        k, kk = n * (n + 1) / 2, n * (n + 1) * (2 * n + 1) / 6
        self._count += sign * n
        self._k += sign * k
        self._kk += sign * kk
        self._r += sign * (n * n - k)
        self._rr += sign * (n**3 - 2 * n * k + kk)
        self._kr += sign * (n * k - kk)

    def eta(self) -> float:
        """Return eta in [0, 1]; 1 while nothing can be said."""
        n = self._count
        spread_k = n * self._kk - self._k**2
        spread_r = n * self._rr - self._r**2
        if n < 2 or spread_k <= 0 or spread_r <= 0:
            return 1.0
        correlation = (n * self._kr - self._k * self._r) / math.sqrt(spread_k * spread_r)
        return min(1.0, max(0.0, -correlation))
