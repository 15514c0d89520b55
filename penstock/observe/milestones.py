"""What of a request's timeline the observers read (`core.output.Timeline` has it all)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Milestones(Protocol):
    """Engine-clock seconds of one sequence, 0 where not reached."""

    @property
    def arrival(self) -> float: ...  # noqa: D102
    @property
    def first_scheduled(self) -> float: ...  # noqa: D102
    @property
    def first_token(self) -> float: ...  # noqa: D102
    @property
    def last_token(self) -> float: ...  # noqa: D102
    @property
    def finished(self) -> float: ...  # noqa: D102
    @property
    def preempted(self) -> Sequence[float]:
        """When it was preempted, in order."""
        ...
