"""The waiting, tenant by tenant: whoever has had least comes first, and counters may move meanwhile."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

from penstock.core.policy import OrderIndex, SequenceView
from penstock.policies.order.combine import TenantIndex


class LeastFirst(TenantIndex):
    """Yields from the tenant of least key, asked anew after every candidate.

    It stays with a tenant until that has nothing left: if none of its sequences finds room, nobody else gets
    theirs, whatever the inner order skips. O(tenants) per call of `candidates`, then O(log tenants) per
    candidate, besides the inner indexes.

    Args:
        inner: makes the index of one tenant's sequences.
        place: a tenant's key, total over tenants; while candidates are taken it may only grow.
    """

    def __init__(self, inner: Callable[[], OrderIndex], place: Callable[[str], Any]) -> None:
        super().__init__(inner)
        self._place = place

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield the next sequence of the least tenant of the moment."""
        place = self._place
        heap = [(place(tenant), tenant) for tenant in self.tenants]
        heapq.heapify(heap)
        turns: dict[str, Iterator[SequenceView]] = {}
        while heap:
            key, tenant = heap[0]
            moved = place(tenant)
            if moved != key:
                heapq.heapreplace(heap, (moved, tenant))
                continue
            if tenant not in turns:
                waiting = self.tenants.get(tenant)
                turns[tenant] = iter(()) if waiting is None else waiting.candidates(now)
            seq = next(turns[tenant], None)
            if seq is not None:
                yield seq
            elif tenant in self.tenants:
                return
            else:
                heapq.heappop(heap)
