"""Quantiles of what was measured lately: for people who look now. Histograms are for those who look back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

SECONDS = 60.0
"""How far back a window reaches."""
KEPT = 4096
"""Values a window holds at most; under more load it reaches back less far."""


class Percentiles(msgspec.Struct, frozen=True):
    """Nearest-rank percentiles of the values in a window, in their unit; None while there are none."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    count: int = 0
    """Values they are taken from."""


class Window:
    """Remembers recent values; adding one costs no more than an append.

    Args:
        seconds: how far back it reaches.
        kept: most values held.
        now: source of monotonic seconds.
    """

    def __init__(
        self, seconds: float = SECONDS, kept: int = KEPT, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds = seconds
        self._now = now
        self._values: deque[tuple[float, float]] = deque(maxlen=kept)

    def add(self, value: float) -> None:
        """Take a value in."""
        self._values.append((self._now(), value))

    def percentiles(self) -> Percentiles:
        """Return what the values of the last ``seconds`` come to."""
        values, horizon = self._values, self._now() - self.seconds
        while values and values[0][0] < horizon:
            values.popleft()
        ranked = sorted(value for _, value in values)
        if not ranked:
            return Percentiles()
        p50, p90, p99 = (ranked[-(-len(ranked) * share // 100) - 1] for share in (50, 90, 99))
        return Percentiles(p50, p90, p99, len(ranked))


class Recent:
    """The windows of one server, values in seconds.

    Args:
        now: source of monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.ttft = Window(now=now)
        self.tpot = Window(now=now)
        self.queue = Window(now=now)
        self.e2e = Window(now=now)
