"""Nothing is pinned: the prefix cache and its evict policy decide alone."""

from __future__ import annotations

from penstock.core.policy import EngineView, SequenceView
from penstock.policies.registry import register


@register("retain", "none")
class NoRetention:
    """Pin nothing."""

    reason = None

    def seconds(self, seq: SequenceView, view: EngineView) -> float:
        """Return 0."""
        return 0.0
