"""The injected clock: the brain never asks the operating system for the time."""

from typing import Protocol


class Clock(Protocol):
    """A source of monotonic seconds; real in serving, manual in tests, virtual in simulation."""

    def now(self) -> float:
        """Return seconds since an arbitrary fixed origin; never decreases."""
        ...
