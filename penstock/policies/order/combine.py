"""Combinators: orders made of orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

from penstock.core.policy import OrderIndex, OrderPolicy, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.index import SortedIndex
from penstock.policies.registry import register
from penstock.policies.traits import trait


def plain(order: object) -> bool:
    """Whether an order is a key and nothing else, so that keys of several can be joined into one tuple."""
    return isinstance(order, KeyOrder) and type(order).index is KeyOrder.index


def displaces(order: object) -> bool:
    """Whether an order may ever let a waiting sequence displace a running one."""
    if isinstance(order, Lexicographic | Aged):
        return displaces(order.parts()[0])
    declared: bool | None = trait(order, "displaces")
    if declared is not None:
        return declared
    return not isinstance(order, KeyOrder) or type(order).may_displace is not KeyOrder.may_displace


class Lexicographic(KeyOrder):
    """``a > b``: by ``a``; among equals of ``a``, by ``b``.

    Args:
        parts: at least one order, most significant first.

    Raises:
        ValueError: a part that moves its keys with time stands before another part.
    """

    def __init__(self, *parts: OrderPolicy) -> None:
        self._parts = parts
        self.static = all(p.static for p in parts)
        self.stops = all(p.stops for p in parts)
        self._displacing = list(takewhile(displaces, parts))
        self.index()

    def parts(self) -> tuple[object, ...]:
        """Return the parts."""
        return self._parts

    def key(self, seq: SequenceView, now: float) -> tuple[Any, ...]:
        """Return the parts' keys in order."""
        return tuple([p.key(seq, now) for p in self._parts])

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return one list where keys can be joined, else an index of each part within the one before."""
        if inner is None and all(plain(p) for p in self._parts):
            return super().index() if not self.static else SortedIndex(self.key)
        make = inner
        for part in reversed(self._parts):
            make = _within(part, make)
        assert make is not None
        return make()

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Ask the first part that tells the two apart, unless one before it displaces nobody.

        Whom a later part would displace does not rank last then: those that the earlier one ranks lower do.
        """
        for part in self._displacing:
            if part.may_displace(waiting, running, now):
                return True
            if part.key(waiting, now) != part.key(running, now):
                return False
        return False


def _within(part: OrderPolicy, inner: Callable[[], OrderIndex] | None) -> Callable[[], OrderIndex]:
    return lambda: part.index(inner)


class _AgedIndex:
    """Whoever has waited beyond the horizon by arrival, then the inner index."""

    def __init__(self, horizon: float, inner: OrderIndex) -> None:
        self._horizon = horizon
        self._inner = inner
        self._by_arrival = SortedIndex(lambda seq, now: seq.arrival)

    def add(self, seq: SequenceView) -> None:
        self._by_arrival.add(seq)
        self._inner.add(seq)

    def remove(self, seq: SequenceView) -> None:
        self._by_arrival.remove(seq)
        self._inner.remove(seq)

    def candidates(self, now: float) -> Iterator[SequenceView]:
        for seq in self._by_arrival.candidates(now):
            if now - seq.arrival <= self._horizon:
                break
            yield seq
        for seq in self._inner.candidates(now):
            if now - seq.arrival <= self._horizon:
                yield seq


@register("order", "aged")
class Aged(KeyOrder):
    """``aged(x, 30s)``: as ``x``, but whoever has waited longer than the horizon comes first, by arrival.

    Only the age counts, so no sequence waits behind a stream of better-ranked newcomers for ever.

    Args:
        inner: the order to follow until the horizon.
        horizon: seconds, > 0.
    """

    static = False
    ages = True

    def __init__(self, inner: OrderPolicy, horizon: float) -> None:
        if not isinstance(horizon, int | float) or horizon <= 0:
            raise ValueError(f"the horizon must be a positive number of seconds, got {horizon!r}")
        self._inner = inner
        self._horizon = float(horizon)
        self.stops = inner.stops

    def parts(self) -> tuple[object, ...]:
        """Return the inner order."""
        return (self._inner,)

    def key(self, seq: SequenceView, now: float) -> tuple[Any, ...]:
        """Return (0, arrival) once aged, else (1, inner key)."""
        if now - seq.arrival > self._horizon:
            return (0, seq.arrival)
        return (1, self._inner.key(seq, now))

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return the inner order's index behind a list by arrival."""
        return _AgedIndex(self._horizon, self._inner.index(inner))

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Ask the inner order, but leave whoever has aged in peace."""
        return now - running.arrival <= self._horizon and self._inner.may_displace(waiting, running, now)


class TenantIndex:
    """An index for each tenant; derive and override `candidates` to say whose turn it is.

    Args:
        inner: makes the index of one tenant.
    """

    def __init__(self, inner: Callable[[], OrderIndex]) -> None:
        self._inner = inner
        self.tenants: dict[str, OrderIndex] = {}
        """Tenants with waiting sequences; whoever had a turn goes to the back."""
        self._sizes: dict[str, int] = {}

    def add(self, seq: SequenceView) -> None:
        """Take a sequence in."""
        tenant = seq.spec.tenant
        if tenant not in self.tenants:
            self.tenants[tenant] = self._inner()
            self._sizes[tenant] = 0
        self.tenants[tenant].add(seq)
        self._sizes[tenant] += 1

    def remove(self, seq: SequenceView) -> None:
        """Take a sequence out."""
        tenant = seq.spec.tenant
        mine = self.tenants.pop(tenant)
        mine.remove(seq)
        self._sizes[tenant] -= 1
        if self._sizes[tenant]:
            self.tenants[tenant] = mine
        else:
            del self._sizes[tenant]

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield one sequence of each tenant in turn."""
        turns = [tenant.candidates(now) for tenant in list(self.tenants.values())]
        while turns:
            going = []
            for turn in turns:
                seq = next(turn, None)
                if seq is not None:
                    yield seq
                    going.append(turn)
            turns = going


@register("order", "per-tenant")
class PerTenant(KeyOrder):
    """``per-tenant(x)``: one sequence of each tenant in turn; within a tenant, by ``x``.

    Args:
        within: the order within a tenant.
    """

    picks_tenant = True

    def __init__(self, within: OrderPolicy) -> None:
        if not isinstance(within, KeyOrder):
            raise ValueError("per-tenant needs an order to apply within a tenant, e.g. per-tenant(fcfs)")
        self._within = within
        self.static = within.static
        self.stops = within.stops

    def parts(self) -> tuple[object, ...]:
        """Return the inner order."""
        return (self._within,)

    def key(self, seq: SequenceView, now: float) -> Any:
        """Return the inner key; turns are taken by the waiting."""
        return self._within.key(seq, now)

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return an index that takes turns."""
        return TenantIndex(lambda: self._within.index(inner))
