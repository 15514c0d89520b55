"""Arrangements of the waiting that key orders use; orders with turns of their own build on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sortedcontainers import SortedDict, SortedKeyList

from penstock.core.policy import OrderIndex, SequenceView

Key = Callable[[SequenceView, float], Any]


class SortedIndex:
    """By a key that never changes; O(log n) to add and remove, and candidates cost nothing but themselves.

    Args:
        key: of a sequence; ties go by submission order.
    """

    def __init__(self, key: Key) -> None:
        self._sorted: Any = SortedKeyList(key=lambda seq: (key(seq, 0.0), seq.number))

    def add(self, seq: SequenceView) -> None:
        """Take a sequence in."""
        self._sorted.add(seq)

    def remove(self, seq: SequenceView) -> None:
        """Take a sequence out."""
        self._sorted.remove(seq)

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield sequences by key."""
        passed, waiting = 0, self._sorted
        while passed < len(waiting):
            seq = waiting[passed]
            yield seq
            if passed < len(waiting) and waiting[passed] is seq:
                passed += 1


class RankedIndex:
    """By a key that moves with time or events: sorted anew whenever candidates are asked for.

    Args:
        rank: yields the sequences given to it, best first.
    """

    def __init__(self, rank: Callable[[list[SequenceView], float], Iterator[SequenceView]]) -> None:
        self._rank = rank
        self._waiting: dict[int, SequenceView] = {}

    def add(self, seq: SequenceView) -> None:
        """Take a sequence in."""
        self._waiting[seq.number] = seq

    def remove(self, seq: SequenceView) -> None:
        """Take a sequence out."""
        del self._waiting[seq.number]

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield sequences in the order of this moment."""
        return self._rank(list(self._waiting.values()), now)


class TieredIndex:
    """By an unchanging key; among equals, by an index of their own.

    Args:
        key: of a sequence.
        inner: makes the index of one tier.
    """

    def __init__(self, key: Key, inner: Callable[[], OrderIndex]) -> None:
        self._key = key
        self._inner = inner
        self._tiers: Any = SortedDict()
        self._sizes: dict[Any, int] = {}

    def add(self, seq: SequenceView) -> None:
        """Take a sequence in."""
        key = self._key(seq, 0.0)
        if key not in self._tiers:
            self._tiers[key] = self._inner()
            self._sizes[key] = 0
        self._tiers[key].add(seq)
        self._sizes[key] += 1

    def remove(self, seq: SequenceView) -> None:
        """Take a sequence out."""
        key = self._key(seq, 0.0)
        self._tiers[key].remove(seq)
        self._sizes[key] -= 1
        if not self._sizes[key]:
            del self._tiers[key], self._sizes[key]

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield tier by tier."""
        for key in list(self._tiers):
            tier = self._tiers.get(key)
            if tier is not None:
                yield from tier.candidates(now)
