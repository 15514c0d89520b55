"""The waiting by how much of each the prefix cache holds, at a bounded cost per step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from penstock.core.policy import EngineView, OrderIndex, SequenceView

WINDOW = 1024
"""How many of the waiting are looked up per step, by default."""
MISSES = 32
"""After so many candidates of a step that found no room, smaller ones further back are not tried."""


def check_window(window: int) -> int:
    """Return it.

    Raises:
        ValueError: it is not a positive whole number.
    """
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"the window must be a whole number of at least 1, got {window!r}")
    return window


def longest_match_first(
    base: Iterator[SequenceView], view: EngineView | None, window: int
) -> list[SequenceView]:
    """Return the first ``window`` of the waiting by cached prefix, longest first, then the rest as they come.

    Equal matches stay in the base order. Each look-up goes on from the page that the last one found (see
    `EngineView.cached_tokens`), so its cost is that of what changed since.
    """
    near = list(islice(base, window))
    if view is not None:
        cached = view.cached_tokens
        near.sort(key=lambda seq: -cached(seq))
    near.extend(base)
    return near


class MatchIndex:
    """Sequences in the order of a base index, offered by longest match.

    Args:
        base: arrangement that breaks ties and says who is within the window.
        window: as for `longest_match_first`.
        view: returns the engine's view, which is bound after the index is made.
    """

    def __init__(self, base: OrderIndex, window: int, view: Callable[[], EngineView | None]) -> None:
        self._base = base
        self._window = window
        self._view = view
        self.waiting: set[int] = set()

    def add(self, seq: SequenceView) -> None:
        """Take a sequence in."""
        self.waiting.add(seq.number)
        self._base.add(seq)

    def remove(self, seq: SequenceView) -> None:
        """Take a sequence out."""
        self.waiting.discard(seq.number)
        self._base.remove(seq)

    def arranged(self, now: float) -> list[SequenceView]:
        """Return the waiting as of now, longest match first."""
        return longest_match_first(self._base.candidates(now), self._view(), self._window)

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield them, skipping whoever left meanwhile."""
        misses = 0
        for seq in self.arranged(now):
            if seq.number in self.waiting:
                yield seq
                misses += seq.number in self.waiting
                if misses >= MISSES:
                    return
