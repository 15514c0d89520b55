"""Programs in the order of their first arrival, whichever turn they are at."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from penstock.core.policy import EngineView, OrderIndex, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.index import SortedIndex
from penstock.policies.registry import register

_PREEMPTED, _PINNED, _OTHER = range(3)


class _ProgramIndex:
    """The preempted, those whose program has KV pinned, the others; each by the program's first arrival."""

    def __init__(self, make: Callable[[], OrderIndex], tier: Callable[[SequenceView], int]) -> None:
        self._tiers = [make() for _ in range(3)]
        self._tier = tier
        self._at: dict[int, int] = {}

    def add(self, seq: SequenceView) -> None:
        tier = self._at[seq.number] = self._tier(seq)
        self._tiers[tier].add(seq)

    def remove(self, seq: SequenceView) -> None:
        self._tiers[self._at.pop(seq.number)].remove(seq)

    def candidates(self, now: float) -> Iterator[SequenceView]:
        yield from self._tiers[_PREEMPTED].candidates(now)
        for seq in self._tiers[_PINNED].candidates(now):
            if self._tier(seq) == _PINNED:
                yield seq
            else:  # the pin was given up while it waited
                self.remove(seq)
                self.add(seq)
        yield from self._tiers[_OTHER].candidates(now)


@register("order", "program-fcfs")
class ProgramFCFS(KeyOrder):
    """Preempted sequences first, then returns of programs with pinned KV, then others; by program arrival.

    A program's later turns keep its first place, so that no turn waits anew behind programs that came later.
    A request without a program is a program of one turn. Source: "Continuum" (arXiv 2511.02230).
    """

    leaves_equals = False
    returns_first = True

    def __init__(self) -> None:
        self._view: EngineView | None = None

    def bind(self, view: EngineView) -> None:
        """Keep the engine's view, to see which programs have pins."""
        self._view = view

    def key(self, seq: SequenceView, now: float) -> tuple[bool, float]:
        """Return (never preempted, arrival of its program)."""
        return (seq.preemptions == 0, seq.program_arrival)

    def _tier(self, seq: SequenceView) -> int:
        if seq.preemptions:
            return _PREEMPTED
        return _PINNED if self._view is not None and self._view.pinned(seq) else _OTHER

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return three arrangements by the program's arrival, one behind the other."""
        if inner is not None:
            raise ValueError(
                "program-fcfs leaves no equals to decide among and can only come last in 'a > b'"
            )
        return _ProgramIndex(lambda: SortedIndex(self.key), self._tier)
