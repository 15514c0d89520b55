"""To the replica with the fewest requests."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.policy import ReplicaView
from penstock.core.request import RequestSpec
from penstock.policies.registry import register


@register("route", "least-load")
class LeastLoad:
    """Join the shortest queue: fewest requests given and not ended; ties go to the lowest number."""

    def choose(self, spec: RequestSpec, replicas: Sequence[ReplicaView], now: float) -> int:
        """Return the place of the least loaded replica."""
        return min(range(len(replicas)), key=lambda i: replicas[i].outstanding)

    def on_finish(self, request_id: str, replica: int, now: float) -> None:
        """Keep nothing."""
