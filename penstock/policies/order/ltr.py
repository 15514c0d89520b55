"""Shortest predicted answer first, with a guard against starvation: learning-to-rank scheduling."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any

from sortedcontainers import SortedKeyList, SortedList

from penstock.core.policy import EngineView, OrderIndex, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.registry import register

MEMORY = 1001
"""Scores of newcomers among which one without a score takes the middle place."""


@register("order", "ltr")
class LearnedRank(KeyOrder):
    """By the predicted length that requests carry; who idles for ``patience`` steps goes before all others.

    Only the order of the scores matters. A sequence that has not run for ``patience`` steps is promoted,
    until it has generated in ``period`` steps; the promoted go first, among themselves by score too. Where
    the promoted may displace, nobody idles longer than ``patience + period * ceil(n / c)`` steps while ``c``
    sequences fit and ``n`` are promoted meanwhile; where they may not, they wait for running ones to end.

    A request without a score stands where the median of the last `MEMORY` scores stands, so that it is
    neither favoured nor punished. Source: Fu et al., "Efficient LLM Scheduling by Learning to Rank"
    (NeurIPS 2024), algorithm 1. Differences: equals go to whoever runs (the authors' code puts the waiting
    first, which displaces for nothing), steps of prefill do not use the period up (the authors swap; who is
    displaced here computes its context again, and must get beyond that), and displacing the running is off
    unless asked for.

    Args:
        patience: idle steps until promotion (S), >= 1.
        period: steps that a promoted sequence generates in before it is an ordinary one again (P), >= 1.
        displace: ``yes`` lets waiting sequences preempt running ones of a worse rank.
    """

    static = False
    leaves_equals = False
    shortest = True
    starves = "long answers, once newcomers too idle beyond its patience,"

    def __init__(self, patience: int = 200, period: int = 10, displace: str = "no") -> None:
        for name, value in (("patience", patience), ("period", period)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"the {name} must be a whole number of steps of at least 1, got {value!r}")
        if displace not in ("yes", "no"):
            raise ValueError(f"displace must be yes or no, got {displace!r}")
        self._patience, self._period, self._displaces = patience, period, displace == "yes"
        self.displaces = self.churns = self._displaces
        self._view: EngineView | None = None
        self._scores: dict[int, float] = {}
        self._last: dict[int, int] = {}
        self._owed: dict[int, int] = {}
        self._displaced: set[int] = set()
        """Waiting again; what was in flight then may still land."""
        self._recent: deque[float] = deque()
        self._sorted: Any = SortedList()

    # -- what happens ------------------------------------------------------------------------------

    def bind(self, view: EngineView) -> None:
        """Remember where steps are counted."""
        self._view = view

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Settle the score, once."""
        score = seq.spec.length_score
        self._scores[seq.number] = self._middle() if score is None else self._learn(score)
        self._last[seq.number] = self.steps()

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Count its steps from here on."""
        self._displaced.discard(seq.number)

    def on_preempt(self, seq: SequenceView, now: float) -> None:
        """Count no more steps: its place among the waiting must not change under the index."""
        self._displaced.add(seq.number)

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Note that it ran a step."""
        number = seq.number
        if number in self._displaced:
            return
        self._last[number] = self.steps()
        owed = self._owed.get(number) if decode else None
        if owed is not None:
            if owed > 1:
                self._owed[number] = owed - 1
            else:
                del self._owed[number]

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Forget it."""
        self._scores.pop(seq.number, None)
        self._last.pop(seq.number, None)
        self._owed.pop(seq.number, None)
        self._displaced.discard(seq.number)

    def _learn(self, score: float) -> float:
        self._recent.append(score)
        self._sorted.add(score)
        if len(self._recent) > MEMORY:
            self._sorted.remove(self._recent.popleft())
        return score

    def _middle(self) -> float:
        return self._sorted[len(self._sorted) // 2] if self._sorted else 0.0

    # -- the order ---------------------------------------------------------------------------------

    def steps(self) -> int:
        """Return the steps planned so far."""
        return self._view.step if self._view is not None else 0

    def score(self, seq: SequenceView) -> float:
        """Return the score that counts for a sequence; it never changes."""
        score = self._scores.get(seq.number)
        return score if score is not None else (seq.spec.length_score or 0.0)

    def due(self, seq: SequenceView) -> int:
        """Return the step at which a sequence is promoted if it does not run before."""
        return self._last.get(seq.number, 0) + self._patience

    def promoted(self, seq: SequenceView) -> bool:
        """Return whether a sequence goes before the ordinary ones, promoting it if its time has come."""
        if seq.number in self._owed:
            return True
        if self._view is None or self.due(seq) > self.steps():
            return False
        self._owed[seq.number] = self._period
        return True

    def key(self, seq: SequenceView, now: float) -> tuple[int, float]:
        """Return (0 if promoted else 1, score)."""
        return (0 if self.promoted(seq) else 1, self.score(seq))

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return two sorted lists and a heap of promotions to come: nothing is sorted again."""
        if inner is not None:
            raise ValueError(
                "ltr ranks by scores that are hardly ever equal and can only come last in 'a > b'"
            )
        return _GuardedIndex(self)

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Preempt whoever ranks strictly worse, if that was asked for."""
        return self._displaces and self.key(waiting, now) < self.key(running, now)


class _GuardedIndex:
    """The promoted by score, then the others by score; promotions are looked for only when they are due."""

    def __init__(self, order: LearnedRank) -> None:
        self._order = order
        self._lists: list[Any] = [self._list(), self._list()]
        self._home: dict[int, Any] = {}
        self._due: list[tuple[int, int, SequenceView]] = []

    def _list(self) -> Any:
        return SortedKeyList(key=lambda seq: (self._order.score(seq), seq.number))

    def add(self, seq: SequenceView) -> None:
        promoted = self._order.promoted(seq)
        home = self._home[seq.number] = self._lists[0 if promoted else 1]
        home.add(seq)
        if not promoted:
            heappush(self._due, (self._order.due(seq), seq.number, seq))

    def remove(self, seq: SequenceView) -> None:
        self._home.pop(seq.number).remove(seq)

    def _promote(self) -> None:
        step, (first, others) = self._order.steps(), self._lists
        while self._due and self._due[0][0] <= step:
            _, number, seq = heappop(self._due)
            # It may have left, or left and come back with a later entry of its own.
            if number in self._home and self._home[number] is others and self._order.promoted(seq):
                others.remove(seq)
                first.add(seq)
                self._home[number] = first

    def candidates(self, now: float) -> Iterator[SequenceView]:
        self._promote()
        for waiting in self._lists:
            passed = 0
            while passed < len(waiting):
                seq = waiting[passed]
                yield seq
                if passed < len(waiting) and waiting[passed] is seq:
                    passed += 1
