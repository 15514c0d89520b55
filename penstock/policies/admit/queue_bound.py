"""A bounded queue: better an early no than a late one."""

from __future__ import annotations

from penstock.core.policy import EngineView, Reject
from penstock.core.request import RequestSpec
from penstock.policies.registry import register


@register("admit", "queue-bound")
class QueueBound:
    """Reject while ``limit`` requests wait already.

    Args:
        limit: most waiting requests, >= 1.
        retry_after: seconds that a rejected client is told to wait.
    """

    def __init__(self, limit: int, retry_after: float = 1.0) -> None:
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"the limit must be a whole number of at least 1, got {limit!r}")
        self._limit = limit
        self._retry_after = float(retry_after)

    def decide(self, spec: RequestSpec, view: EngineView) -> Reject | None:
        """Accept while there is room in the queue."""
        if view.waiting < self._limit:
            return None
        return Reject(f"{view.waiting} requests are waiting, the limit is {self._limit}", self._retry_after)
