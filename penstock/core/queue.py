"""The waiting queue: who waits, arranged by the order policy's index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from penstock.core.kv.pins import Owner
from penstock.core.policy import OrderPolicy
from penstock.core.programs import owner_of
from penstock.core.sequence import Sequence


class WaitingQueue:
    """Sequences waiting for admission. Membership is kept here, so that an index cannot invent or lose any.

    Args:
        order: the policy, which arranges them.
    """

    def __init__(self, order: OrderPolicy) -> None:
        self._index = order.index()
        self._members: dict[int, Sequence] = {}
        self.programs: Counter[Owner] = Counter()
        """Waiting sequences of each program that has any."""

    def __len__(self) -> int:
        """Sequences waiting."""
        return len(self._members)

    def __iter__(self) -> Iterator[Sequence]:
        """Iterate over the waiting in no order that means anything."""
        return iter(self._members.values())

    def add(self, seq: Sequence) -> None:
        """Take a sequence in."""
        self._members[seq.number] = seq
        seq.queued = True
        owner = owner_of(seq.spec, "program")
        if owner is not None:
            self.programs[owner] += 1
        self._index.add(seq)

    def remove(self, seq: Sequence) -> None:
        """Take a sequence out.

        Raises:
            KeyError: it is not waiting.
        """
        del self._members[seq.number]
        seq.queued = False
        owner = owner_of(seq.spec, "program")
        if owner is not None:
            self.programs[owner] -= 1
            if not self.programs[owner]:
                del self.programs[owner]
        self._index.remove(seq)

    def candidates(self, now: float) -> Iterator[Sequence]:
        """Yield sequences best first; those yielded may be removed, and others added, in between."""
        for seq in self._index.candidates(now):
            assert isinstance(seq, Sequence)
            if seq.queued:
                yield seq
