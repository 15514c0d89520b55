"""Earliest deadline first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from penstock.core.policy import EngineView, OrderIndex, SequenceView, Watcher
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.frozen import FrozenIndex
from penstock.policies.registry import register

FORGET = 0.95
"""What one served request still weighs when the next has been."""


def due(seq: SequenceView) -> float:
    """Return when a sequence's next milestone is due, in engine-clock seconds; infinite without objectives.

    Until the first token that is ``ttft`` (or the deadline, if it is sooner), from then on the deadline.
    """
    slo = seq.spec.slo
    if slo is None:
        return math.inf
    last = math.inf if slo.deadline is None else seq.arrival + slo.deadline
    if slo.ttft is None:
        return last
    first = seq.arrival + slo.ttft
    # Whoever has no deadline and has its first token keeps its place: it is older than those who wait.
    return min(first, last) if not seq.generated or last == math.inf else last


@register("order", "edf")
class EarliestDeadline(KeyOrder):
    """By `due`; requests without objectives come last, by arrival. Nobody is displaced.

    Optimal while everything can be in time. Under overload it serves first whoever is already late, and
    makes the others late too: ``edf-feasible`` does not.
    """

    static = False
    leaves_equals = False
    starves = "requests without objectives"

    def key(self, seq: SequenceView, now: float) -> tuple[float, ...]:
        """Return (due time, arrival)."""
        return (due(seq), seq.arrival)

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return a list that is sorted once: what is due does not change while waiting."""
        if inner is not None:
            return super().index(inner)
        return FrozenIndex(lambda seq: (due(seq), seq.arrival))


@register("order", "edf-feasible")
class FeasibleFirst(EarliestDeadline):
    """By the latest start that is still in time; who has missed that comes after all who have not.

    The latest start is `due` less the time that service is expected to take: seconds from admission to the
    first token, and from there seconds a token for a mean answer (at most ``max_tokens``), as learned from
    those served lately. Goodput counts requests in time, so under overload the late give way. They starve
    while others keep coming in time: ``aged(edf-feasible, 60s)`` bounds that.
    """

    starves = "requests that are late already, or have no objectives,"

    def __init__(self) -> None:
        self._served = Served()

    def parts(self) -> tuple[object, ...]:
        """Return what learns from those served."""
        return (self._served,)

    def start(self, seq: SequenceView) -> float:
        """Return the latest start, as far as is known now."""
        return due(seq) - self._served.expected(seq)

    def key(self, seq: SequenceView, now: float) -> tuple[float, ...]:
        """Return (0 if in time, 1 if late; latest start; arrival)."""
        at = self.start(seq)
        return (1.0 if at < now else 0.0, at, seq.arrival)

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return a sorted list that is read from the present on, and then from its start."""
        if inner is not None:
            return super().index(inner)
        return _FromNow(lambda seq: (self.start(seq), seq.arrival))


class Served(Watcher):
    """How long service takes, learned from those served: to the first token, per token, tokens."""

    def __init__(self) -> None:
        self._view: EngineView | None = None
        self._admitted: dict[int, float] = {}
        self._first: dict[int, float] = {}
        self._sums = {"first": (0.0, 0.0), "token": (0.0, 0.0), "length": (0.0, 0.0)}

    def bind(self, view: EngineView) -> None:
        """Remember whose clock it is."""
        self._view = view

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Note when its service began."""
        if seq.preemptions == 0:
            self._admitted[seq.number] = now

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Learn from its first token."""
        if decode and seq.number not in self._first:
            assert self._view is not None
            now = self._first[seq.number] = self._view.now
            self._learn("first", now - self._admitted[seq.number])

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Learn from its other tokens, and forget it."""
        self._admitted.pop(seq.number, None)
        first = self._first.pop(seq.number, None)
        if first is not None and seq.generated:
            self._learn("length", float(seq.generated))
            if seq.generated > 1:
                self._learn("token", (now - first) / (seq.generated - 1))

    def _learn(self, name: str, value: float) -> None:
        weight, total = self._sums[name]
        self._sums[name] = (weight * FORGET + 1.0, total * FORGET + value)

    def _mean(self, name: str) -> float:
        weight, total = self._sums[name]
        return total / weight if weight else 0.0

    def expected(self, seq: SequenceView) -> float:
        """Return the seconds of service that a waiting sequence needs until what `due` counts."""
        slo, first = seq.spec.slo, self._mean("first")
        if slo is None or slo.deadline is None or (slo.ttft is not None and slo.ttft <= slo.deadline):
            return first
        tokens = min(self._mean("length"), seq.max_total - seq.prompt_length)
        return first + max(0.0, tokens - 1 - seq.generated) * self._mean("token")


class _FromNow(FrozenIndex):
    def candidates(self, now: float) -> Iterator[SequenceView]:
        yield from self.between((now,), None)
        yield from self.between(None, (now,))
