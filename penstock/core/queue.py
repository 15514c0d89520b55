"""The waiting queue: sorted once for static orders, ranked on demand for those whose keys move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sortedcontainers import SortedKeyList

from penstock.core.policy import OrderPolicy
from penstock.core.sequence import Sequence


class WaitingQueue:
    """Sequences waiting for admission, in the order that a policy gives.

    With a static order, adding and removing cost O(log n) and a step touches only the sequences that it
    admits. Otherwise the policy ranks the queue when the scheduler asks for candidates.

    Args:
        order: the policy.
    """

    def __init__(self, order: OrderPolicy) -> None:
        self._order = order
        self._sorted: Any = SortedKeyList(key=self._key) if order.static else None
        self._plain: dict[int, Sequence] = {}

    def _key(self, seq: Sequence) -> tuple[Any, int]:
        return (self._order.key(seq, 0.0), seq.number)

    def __len__(self) -> int:
        """Sequences waiting."""
        return len(self._plain)

    def add(self, seq: Sequence) -> None:
        """Take a sequence in."""
        self._plain[seq.number] = seq
        seq.queued = True
        if self._sorted is not None:
            self._sorted.add(seq)

    def remove(self, seq: Sequence) -> None:
        """Take a sequence out.

        Raises:
            KeyError: it is not waiting.
        """
        del self._plain[seq.number]
        seq.queued = False
        if self._sorted is not None:
            self._sorted.remove(seq)

    def candidates(self, now: float) -> Iterator[Sequence]:
        """Yield sequences best first; those yielded may be removed, and others added, in between."""
        if self._sorted is None:
            for seq in self._order.rank(list(self._plain.values()), now):
                assert isinstance(seq, Sequence)
                if seq.queued:
                    yield seq
            return
        passed = 0
        while passed < len(self._sorted):
            seq = self._sorted[passed]
            yield seq
            if seq.queued:
                passed += 1
