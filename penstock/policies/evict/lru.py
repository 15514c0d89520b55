"""The least recently used page goes first."""

from __future__ import annotations

from penstock.core.policy import PrefixNodeView
from penstock.policies.registry import register


@register("evict", "lru")
class LRU:
    """By time of last use; of pages used together, the deepest first."""

    def key(self, node: PrefixNodeView) -> tuple[float, int]:
        """Return (last use, -depth)."""
        return (node.last_used, -node.depth)
