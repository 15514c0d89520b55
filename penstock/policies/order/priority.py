"""By the priority that the request carries."""

from __future__ import annotations

from penstock.core.policy import SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.registry import register


@register("order", "priority")
class Priority(KeyOrder):
    """Smaller priority values first; a waiting request displaces a running one of larger value.

    Alone it starves large values under sustained load; ``aged(priority, 30s)`` bounds that.
    """

    coarse = True
    reads_priority = True

    def key(self, seq: SequenceView, now: float) -> int:
        """Return the request's priority."""
        return seq.spec.priority

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Preempt strictly less urgent work."""
        return waiting.spec.priority < running.spec.priority
