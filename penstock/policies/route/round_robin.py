"""One replica after the other."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.policy import ReplicaView
from penstock.core.request import RequestSpec
from penstock.policies.registry import register


@register("route", "round-robin")
class RoundRobin:
    """In turn, whatever their load."""

    def __init__(self) -> None:
        self._next = 0

    def choose(self, spec: RequestSpec, replicas: Sequence[ReplicaView], now: float) -> int:
        """Return the place of the next replica."""
        self._next += 1
        return (self._next - 1) % len(replicas)

    def on_finish(self, request_id: str, replica: int, now: float) -> None:
        """Keep nothing."""
