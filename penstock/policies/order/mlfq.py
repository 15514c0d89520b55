"""Multi-level feedback queue: whoever has had much waits behind whoever has had little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from penstock.core.policy import OrderIndex, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.frozen import FrozenIndex
from penstock.policies.order.index import SortedIndex
from penstock.policies.registry import register


@register("order", "mlfq")
class FeedbackQueue(KeyOrder):
    """By level, then arrival; level k begins after ``quantum * (2**k - 1)`` generated tokens.

    A waiting sequence displaces one of a higher level. One that has waited ``promotion`` seconds since it
    last ran goes first, and through the levels anew. It needs no predictions, and pays with preemptions: the
    baseline that the learning-to-rank paper compares with. Source: Wu et al., "Fast Distributed Inference
    Serving for Large Language Models" (2023), without its skip-join; the quantum is counted in tokens instead
    of seconds.

    Args:
        quantum: generated tokens of the first level, >= 1.
        promotion: seconds, > 0.
    """

    static = False
    leaves_equals = False
    churns = True

    def __init__(self, quantum: int = 32, promotion: float = 3.0) -> None:
        if not isinstance(quantum, int) or quantum < 1:
            raise ValueError(f"the quantum must be a whole number of tokens of at least 1, got {quantum!r}")
        if promotion <= 0:
            raise ValueError(f"the promotion must be a positive number of seconds, got {promotion!r}")
        self._quantum, self._promotion = quantum, float(promotion)
        self._since: dict[int, float] = {}
        self._before: dict[int, int] = {}
        """Tokens that a promoted sequence had generated when it got in: its levels begin anew."""

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Let a promoted sequence begin at level 0: else the next newcomer displaces it without progress."""
        if now - self.since(seq) >= self._promotion:
            self._before[seq.number] = seq.generated

    def on_preempt(self, seq: SequenceView, now: float) -> None:
        """Note since when it waits again."""
        self._since[seq.number] = now

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Forget it."""
        self._since.pop(seq.number, None)
        self._before.pop(seq.number, None)

    def since(self, seq: SequenceView) -> float:
        """Return since when a waiting sequence waits."""
        return self._since.get(seq.number, seq.arrival)

    @property
    def promotion(self) -> float:
        """Seconds of waiting that put a sequence first."""
        return self._promotion

    def key(self, seq: SequenceView, now: float) -> tuple[int, float]:
        """Return (level, arrival)."""
        tokens = seq.generated - self._before.get(seq.number, 0)
        return ((tokens // self._quantum + 1).bit_length() - 1, seq.arrival)

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return a list by level beside one by the time of waiting."""
        if inner is not None:
            return super().index(inner)
        return _PromotingIndex(self)

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Preempt whoever is on a higher level."""
        return self.key(waiting, now)[0] < self.key(running, now)[0]


class _PromotingIndex:
    def __init__(self, order: FeedbackQueue) -> None:
        self._order = order
        self._by_level = FrozenIndex(lambda seq: order.key(seq, 0.0))
        self._by_wait: Any = SortedIndex(lambda seq, now: order.since(seq))

    def add(self, seq: SequenceView) -> None:
        self._by_level.add(seq)
        self._by_wait.add(seq)

    def remove(self, seq: SequenceView) -> None:
        self._by_level.remove(seq)
        self._by_wait.remove(seq)

    def candidates(self, now: float) -> Iterator[SequenceView]:
        for seq in self._by_wait.candidates(now):
            if now - self._order.since(seq) < self._order.promotion:
                break
            yield seq
        for seq in self._by_level.candidates(now):
            if now - self._order.since(seq) < self._order.promotion:
                yield seq
