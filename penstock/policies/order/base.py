"""What every order policy shares: only the key differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from penstock.core.policy import OrderIndex, SequenceView, Watcher
from penstock.policies.order.index import RankedIndex, SortedIndex, TieredIndex
from penstock.policies.registry import name_of


class KeyOrder(Watcher):
    """An order given by a key alone; derive and override `key`.

    The default never displaces, lets nobody overtake, follows no sequence's life and keeps its keys for life.
    """

    static = True
    stops = True

    def key(self, seq: SequenceView, now: float) -> Any:
        """Return a sortable key; smaller goes first."""
        raise NotImplementedError

    def rank(self, seqs: Iterable[SequenceView], now: float) -> Iterator[SequenceView]:
        """Yield every sequence once, by key, ties by submission order."""
        return iter(sorted(seqs, key=lambda s: (self.key(s, now), s.number)))

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return an arrangement by key: sorted once if keys never change, else whenever it is asked."""
        if not self.static:
            if inner is not None:
                raise ValueError(
                    f"{name_of(self)!r} moves its keys with time and can only come last in 'a > b'"
                )
            return RankedIndex(self.rank)
        return SortedIndex(self.key) if inner is None else TieredIndex(self.key, inner)

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Never preempt for a newcomer's sake."""
        return False
