"""Virtual time: a clock that jumps, and a heap of things to do in a total order."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Call = Callable[[], None]


class VirtualClock:
    """Implements `penstock.core.clock.Clock`; only an `EventLoop` moves it."""

    __slots__ = ("time",)

    def __init__(self, start: float = 0.0) -> None:
        self.time = start

    def now(self) -> float:
        """Return the current virtual seconds."""
        return self.time


class EventLoop:
    """Runs calls in order of (time, order of scheduling): the same schedule gives the same run.

    Args:
        start: first reading of the clock, seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self.clock = VirtualClock(start)
        self._heap: list[tuple[float, int, Call]] = []
        self._scheduled = 0
        self.done = 0
        """Events run so far."""

    def __len__(self) -> int:
        """Events still to come."""
        return len(self._heap)

    def now(self) -> float:
        """Return the current virtual seconds."""
        return self.clock.time

    def at(self, time: float, call: Call) -> None:
        """Run ``call`` at ``time``; at once, but after what is due already, if that has passed."""
        self._scheduled += 1
        heapq.heappush(self._heap, (max(time, self.clock.time), self._scheduled, call))

    def step(self) -> bool:
        """Run the next event; False if there is none."""
        if not self._heap:
            return False
        self.clock.time, _, call = heapq.heappop(self._heap)
        self.done += 1
        call()
        return True

    def run(self, until: float = float("inf")) -> None:
        """Run events until none is left or the next is due after ``until``."""
        heap, clock, pop = self._heap, self.clock, heapq.heappop
        while heap and heap[0][0] <= until:
            clock.time, _, call = pop(heap)
            self.done += 1
            call()
