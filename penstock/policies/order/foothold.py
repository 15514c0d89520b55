"""``foothold(x)``: a tenant that runs nothing gets a place at once, from one that runs several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.core.policy import OrderIndex, OrderPolicy, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.registry import register


@register("order", "foothold")
class Foothold(KeyOrder):
    """As the inner order, and whoever has nothing running displaces a sequence of a tenant with several.

    An order alone decides who is admitted *next*; when every slot is taken by long answers, next is late. The
    displaced sequence waits again and goes on from the prefix cache, which keeps most of its KV. At most one
    sequence per tenant gets in this way, and a tenant's oldest running sequence is never displaced, so that
    displacing is never mutual and everybody with a place keeps one. What the inner order would displace is
    left alone.

    Args:
        inner: the order to follow; one that yields tenants in turn, such as ``vtc``, makes sense.
    """

    static = False

    def __init__(self, inner: OrderPolicy) -> None:
        if not isinstance(inner, KeyOrder):
            raise ValueError("foothold needs an order, e.g. foothold(vtc)")
        self._inner = inner
        self.stops = inner.stops
        self._running: dict[str, dict[int, None]] = {}
        """Numbers of each tenant's running sequences, oldest admission first."""

    def parts(self) -> tuple[object, ...]:
        """Return the inner order."""
        return (self._inner,)

    def key(self, seq: SequenceView, now: float) -> tuple[bool, Any]:
        """Return whether it could be displaced, and the inner key."""
        return (self._surplus(seq), self._inner.key(seq, now))

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return the inner order's index."""
        return self._inner.index(inner)

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Let a tenant without a place take one that its holder has besides another."""
        return waiting.spec.tenant not in self._running and self._surplus(running)

    def _surplus(self, seq: SequenceView) -> bool:
        """Whether a sequence runs, and is not its tenant's oldest running one."""
        places = self._running.get(seq.spec.tenant)
        return places is not None and seq.number in places and next(iter(places)) != seq.number

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Note a place taken."""
        self._running.setdefault(seq.spec.tenant, {})[seq.number] = None

    def on_preempt(self, seq: SequenceView, now: float) -> None:
        """Note a place lost."""
        self._leave(seq)

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Note a place given back."""
        if running:
            self._leave(seq)

    def _leave(self, seq: SequenceView) -> None:
        places = self._running[seq.spec.tenant]
        places.pop(seq.number, None)
        if not places:
            del self._running[seq.spec.tenant]
