"""Combinators: orders made of orders."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from penstock.core.policy import OrderPolicy, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.registry import register


class Lexicographic(KeyOrder):
    """``a > b``: by ``a``; among equals of ``a``, by ``b``.

    Args:
        parts: at least one order, most significant first.

    Raises:
        ValueError: a part ranks as a whole instead of by key, and so cannot be a part.
    """

    def __init__(self, *parts: OrderPolicy) -> None:
        for part in parts:
            if not isinstance(part, KeyOrder) or type(part).rank is not KeyOrder.rank:
                raise ValueError(f"{type(part).__name__} ranks as a whole and cannot be combined with '>'")
        self._parts = parts
        self.static = all(p.static for p in parts)
        self.charges = any(p.charges for p in parts)

    def key(self, seq: SequenceView, now: float) -> tuple[Any, ...]:
        """Return the parts' keys in order."""
        return tuple([p.key(seq, now) for p in self._parts])

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Ask the first part that tells the two apart."""
        for part in self._parts:
            if part.may_displace(waiting, running, now):
                return True
            if part.key(waiting, now) != part.key(running, now):
                return False
        return False

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Tell every part that charges."""
        for part in self._parts:
            if part.charges:
                part.on_tokens(seq, prefill, decode)

    def on_finish(self, seq: SequenceView) -> None:
        """Tell every part."""
        for part in self._parts:
            part.on_finish(seq)


@register("order", "aged")
class Aged(Lexicographic):
    """``aged(x, 30s)``: as ``x``, but whoever has waited longer than the horizon comes first, by arrival.

    Only the age counts, so no sequence waits behind a stream of better-ranked newcomers for ever.

    Args:
        inner: the order to follow until the horizon.
        horizon: seconds, > 0.
    """

    def __init__(self, inner: OrderPolicy, horizon: float) -> None:
        if not isinstance(horizon, int | float) or horizon <= 0:
            raise ValueError(f"the horizon must be a positive number of seconds, got {horizon!r}")
        super().__init__(inner)
        self._horizon = float(horizon)
        self.static = False

    def key(self, seq: SequenceView, now: float) -> tuple[Any, ...]:
        """Return (0, arrival) once aged, else (1, inner key)."""
        if now - seq.arrival > self._horizon:
            return (0, seq.arrival)
        return (1, *super().key(seq, now))

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Ask the inner order, but leave whoever has aged in peace."""
        return now - running.arrival <= self._horizon and super().may_displace(waiting, running, now)


@register("order", "per-tenant")
class PerTenant(KeyOrder):
    """``per-tenant(x)``: one sequence of each tenant in turn; within a tenant, by ``x``.

    Args:
        inner: the order within a tenant.
    """

    static = False

    def __init__(self, inner: OrderPolicy) -> None:
        if not isinstance(inner, KeyOrder):
            raise ValueError("per-tenant needs an order to apply within a tenant, e.g. per-tenant(fcfs)")
        self._inner = inner
        self.charges = inner.charges

    def key(self, seq: SequenceView, now: float) -> Any:
        """Return the inner key; the turn-taking is in `rank`."""
        return self._inner.key(seq, now)

    def rank(self, seqs: Iterable[SequenceView], now: float) -> Iterator[SequenceView]:
        """Yield round by round: every tenant's best, then every tenant's second, and so on."""
        seen: dict[Hashable, int] = {}
        rounds: list[tuple[int, int, SequenceView]] = []
        for place, seq in enumerate(self._inner.rank(seqs, now)):
            turn = seen.get(seq.spec.tenant, 0)
            seen[seq.spec.tenant] = turn + 1
            rounds.append((turn, place, seq))
        rounds.sort(key=lambda entry: entry[:2])
        return (seq for _, _, seq in rounds)

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Tell the inner order."""
        self._inner.on_tokens(seq, prefill, decode)

    def on_finish(self, seq: SequenceView) -> None:
        """Tell the inner order."""
        self._inner.on_finish(seq)
