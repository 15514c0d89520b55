"""Shortest job first, where the lengths are declared or known: the bound of what predictions can reach."""

from __future__ import annotations

from collections.abc import Callable

from penstock.core.policy import OrderIndex, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.frozen import FrozenIndex
from penstock.policies.registry import register


def declared(seq: SequenceView) -> float:
    """Return the answer length that a request declares: its score, else its token limit."""
    score = seq.spec.length_score
    return float(seq.max_total - seq.prompt_length) if score is None else score


@register("order", "sjf")
class ShortestFirst(KeyOrder):
    """By declared answer length (``length_score`` in tokens, else ``max_tokens``); nobody is displaced.

    With true lengths this is the oracle. It starves the long; ``aged(sjf, 60s)`` or ``ltr`` do not.
    """

    shortest = True
    starves = "long answers"

    def key(self, seq: SequenceView, now: float) -> float:
        """Return the declared length."""
        return declared(seq)


@register("order", "srtf")
class ShortestRemaining(KeyOrder):
    """By what is left of the declared answer; a waiting sequence displaces one with more left.

    A displaced sequence is computed again, so this pays off only where steps are cheap beside waiting.
    """

    static = False
    leaves_equals = False
    shortest = True
    churns = True
    starves = "long answers"

    def key(self, seq: SequenceView, now: float) -> float:
        """Return the declared tokens that are not generated yet."""
        return max(0.0, declared(seq) - seq.generated)

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return a list that is sorted once: what is left does not change while waiting."""
        if inner is not None:
            return super().index(inner)
        return FrozenIndex(lambda seq: self.key(seq, 0.0))

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Preempt whoever has more left, the work of computing the newcomer's prompt included."""
        return self.key(waiting, now) < self.key(running, now)
