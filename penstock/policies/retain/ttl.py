"""A fixed time to live for what a program's turn leaves."""

from __future__ import annotations

from penstock.core.policy import EngineView, SequenceView
from penstock.policies.registry import register


@register("retain", "ttl")
class FixedTTL:
    """Pin every turn's KV for the same time; the last turn's, if it says that it is the last, not at all.

    Args:
        seconds: >= 0; 0 pins nothing.
    """

    reason = "program"

    def __init__(self, seconds: float) -> None:
        if not isinstance(seconds, int | float) or seconds < 0:
            raise ValueError(f"the time to live is a number of seconds of at least 0, got {seconds!r}")
        self._seconds = float(seconds)

    def seconds(self, seq: SequenceView, view: EngineView) -> float:
        """Return the fixed time, or 0 after the last turn."""
        turn = seq.spec.turn
        return 0.0 if turn is not None and turn.last else self._seconds
