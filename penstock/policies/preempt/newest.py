"""Whoever came last gives way."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.policy import EngineView, SequenceView
from penstock.policies.registry import register


@register("preempt", "newest")
class Newest:
    """The candidate that arrived last: usually the one with the least done."""

    def choose(self, candidates: Sequence[SequenceView], need: int, view: EngineView) -> SequenceView:
        """Return the candidate of latest arrival."""
        return max(candidates, key=lambda s: (s.arrival, s.number))
