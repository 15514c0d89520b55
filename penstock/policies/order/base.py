"""What every order policy shares: only the key differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from penstock.core.policy import SequenceView


class KeyOrder:
    """An order given by a key alone; derive and override `key`.

    The default never displaces, charges nothing and keeps its keys for life.
    """

    static = True
    charges = False

    def key(self, seq: SequenceView, now: float) -> Any:
        """Return a sortable key; smaller goes first."""
        raise NotImplementedError

    def rank(self, seqs: Iterable[SequenceView], now: float) -> Iterator[SequenceView]:
        """Yield every sequence once, by key, ties by submission order."""
        return iter(sorted(seqs, key=lambda s: (self.key(s, now), s.number)))

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Never preempt for a newcomer's sake."""
        return False

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Charge nothing."""

    def on_finish(self, seq: SequenceView) -> None:
        """Keep nothing."""
