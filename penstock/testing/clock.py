"""A clock that moves when it is told to."""

from __future__ import annotations


class ManualClock:
    """Implements `penstock.core.clock.Clock`.

    Args:
        start: first reading, seconds.
    """

    def __init__(self, start: float = 1.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the current reading."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move on and return the new reading.

        Raises:
            ValueError: the clock would go backwards.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back by {-seconds} s")
        self._now += seconds
        return self._now
