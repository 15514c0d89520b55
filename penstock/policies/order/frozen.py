"""An arrangement by keys that may move while a sequence runs, but not while it waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sortedcontainers import SortedList

from penstock.core.policy import SequenceView

Entry = tuple[Any, int, SequenceView]
"""Key, submission number (which is unique, so that sequences are never compared), sequence."""


class FrozenIndex:
    """Each sequence keeps the key that it had when it joined; O(log n) to add, remove and go to the next.

    Args:
        key: of a sequence, at the time it joins.
    """

    def __init__(self, key: Callable[[SequenceView], Any]) -> None:
        self._key = key
        self._entries: dict[int, Entry] = {}
        self._sorted: Any = SortedList()

    def add(self, seq: SequenceView) -> None:
        """Take a sequence in."""
        entry = self._entries[seq.number] = (self._key(seq), seq.number, seq)
        self._sorted.add(entry)

    def remove(self, seq: SequenceView) -> None:
        """Take a sequence out."""
        self._sorted.remove(self._entries.pop(seq.number))

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield sequences by the keys they joined with."""
        return self.between(None, None)

    def between(self, low: Any, high: Any) -> Iterator[SequenceView]:
        """Yield sequences with ``low <= key < high`` (None: no limit), by key.

        Sequences may leave and join while it runs; who joins behind the last one yielded is yielded too.
        """
        at = 0 if low is None else self._sorted.bisect_left((low,))
        while at < len(self._sorted):
            entry = self._sorted[at]
            if high is not None and not entry[0] < high:
                return
            yield entry[2]
            at = self._sorted.bisect_right(entry)
