"""The sequences that hold a slot, in the order of the policy."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import Any

from penstock.core.policy import OrderPolicy
from penstock.core.sequence import Sequence


class RunningSet:
    """Kept sorted under a static order; ranked on demand under one whose keys move.

    Args:
        order: the policy.
    """

    def __init__(self, order: OrderPolicy) -> None:
        self._order = order
        self._members: list[Sequence] = []

    def _key(self, seq: Sequence) -> tuple[Any, int]:
        return (self._order.key(seq, 0.0), seq.number)

    def __len__(self) -> int:
        """Sequences running."""
        return len(self._members)

    def __iter__(self) -> Iterator[Sequence]:
        """Iterate over the members in no order that means anything."""
        return iter(self._members)

    def add(self, seq: Sequence) -> None:
        """Take a sequence in."""
        if self._order.static:
            insort(self._members, seq, key=self._key)
        else:
            self._members.append(seq)

    def remove(self, seq: Sequence) -> None:
        """Take a sequence out.

        Raises:
            ValueError: it is not running.
        """
        self._members.remove(seq)

    def ranked(self, now: float) -> list[Sequence]:
        """Return the members best first, as a list of the caller's own."""
        if self._order.static:
            return self._members.copy()
        return list(self._order.rank(self._members, now))  # type: ignore[arg-type]  # it yields what it was given

    def below(self, seq: Sequence, now: float) -> list[Sequence]:
        """Return the members that rank below `seq`, best first."""
        ranked = self.ranked(now)
        return ranked[ranked.index(seq) + 1 :]
