"""First come, first served."""

from __future__ import annotations

from penstock.core.policy import SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.registry import register


@register("order", "fcfs")
class FCFS(KeyOrder):
    """By arrival. A preempted sequence keeps its place, so nobody starves."""

    leaves_equals = False

    def key(self, seq: SequenceView, now: float) -> float:
        """Return the arrival time."""
        return seq.arrival
