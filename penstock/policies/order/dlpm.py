"""DLPM: longest prefix match within deficits, so that locality cannot starve a tenant for long.

Source: Cao et al., "Locality-aware Fair Scheduling in LLM Serving" (arXiv 2501.14312), algorithm 1. With
room reserved for final sizes, deficits stay in ``(-U, Q]`` and the service of two tenants that both have
work waiting differs by at most ``2 (U + Q)``, service counting only what the cache did not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from penstock.core.policy import EngineView, OrderIndex, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.index import SortedIndex
from penstock.policies.order.lpm_match import MISSES, WINDOW, MatchIndex, check_window
from penstock.policies.order.tenants import Tenants
from penstock.policies.registry import register

KNOWN_TENANTS = 1 << 14
"""Above so many, idle tenants that owe nothing are forgotten at the next refill."""


@register("order", "dlpm")
class DeficitLongestPrefixMatch(KeyOrder):
    """By longest match, but only tenants in credit; credit is refilled once nobody waiting has any.

    Charged are prompt tokens that the cache did not hold, at admission, and generated tokens as they land.
    Those that find no room are passed over. An infinite quantum makes it `LongestPrefixMatch`.

    Args:
        quantum: service units that a refill brings, times the tenant's weight; larger favours locality, and
            ``quantum=inf`` has nothing else.
        window: waiting sequences looked up per step; see `LongestPrefixMatch`.
        input_price: service units of a prompt token computed.
        output_price: service units of a generated token.
    """

    static = False
    stops = False
    picks_tenant = True
    service_bound = True
    needs_prefix_cache = "'vtc'"
    starves = "a tenant's own prompts that match nothing"

    def __init__(
        self,
        quantum: float | str = 8000.0,
        window: int = WINDOW,
        input_price: float = 1.0,
        output_price: float = 2.0,
    ) -> None:
        quantum = math.inf if quantum == "inf" else quantum
        if not isinstance(quantum, int | float) or not quantum >= 1:
            raise ValueError(f"the quantum is a number of service units of at least 1, got {quantum!r}")
        if input_price < 0 or output_price < 0:
            raise ValueError(f"prices must not be negative, got {input_price!r} and {output_price!r}")
        self._quantum = float(quantum)
        self._window = check_window(window)
        self._prices = (input_price, output_price)
        self._view: EngineView | None = None
        self.tenants = Tenants()
        self.deficits: dict[str, float] = {}
        """Credit of every known tenant, idle ones included."""
        self._weights: dict[str, float] = {}
        self._charged: set[int] = set()

    def bind(self, view: EngineView) -> None:
        """Keep the view, for look-ups."""
        self._view = view

    def key(self, seq: SequenceView, now: float) -> float:
        """Return the negated credit: among the running, whoever owes most gives way first."""
        return -self.credit(seq)

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return an index by match within credit; among equal matches ``inner`` decides, or arrival."""
        base = inner() if inner is not None else SortedIndex(lambda seq, now: seq.arrival)
        return DeficitIndex(self, base, self._window, lambda: self._view)

    def credit(self, seq: SequenceView) -> float:
        """Return the credit of a sequence's tenant; a newcomer has none (all, if credit is infinite)."""
        tenant = seq.spec.tenant
        if tenant not in self.deficits:
            self.deficits[tenant] = math.inf if math.isinf(self._quantum) else 0.0
        self._weights[tenant] = seq.spec.weight
        return self.deficits[tenant]

    def refill(self) -> None:
        """Give every known tenant without credit, idle or not, its quantum."""
        for tenant, credit in self.deficits.items():
            if credit <= 0:
                self.deficits[tenant] = credit + self._quantum * self._weights[tenant]
        if len(self.deficits) > KNOWN_TENANTS:
            for tenant in [t for t, credit in self.deficits.items() if credit > 0 and self.tenants.idle(t)]:
                del self.deficits[tenant], self._weights[tenant]

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Count it, and know its tenant."""
        self.tenants.arrive(seq)
        self.credit(seq)

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Charge the part of the prompt that has to be computed, once."""
        self.tenants.admit(seq)
        if seq.number not in self._charged:
            self._charged.add(seq.number)
            self._charge(seq, self._prices[0] * (seq.prompt_length - seq.computed))

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Charge generated tokens."""
        if decode:
            self._charge(seq, self._prices[1] * decode)

    def on_preempt(self, seq: SequenceView, now: float) -> None:
        """Count it among the waiting again; what it recomputes was charged."""
        self.tenants.preempt(seq)

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Count it out."""
        self.tenants.finish(seq, running)
        self._charged.discard(seq.number)

    def _charge(self, seq: SequenceView, units: float) -> None:
        self.deficits[seq.spec.tenant] = self.credit(seq) - units


class DeficitIndex(MatchIndex):
    """Passes over the waiting, longest match first, until a pass neither admits anybody nor refills.

    Args:
        order: keeps the deficits.
        base: arrangement that breaks ties.
        window: waiting sequences looked up per step.
        view: returns the engine's view.
    """

    def __init__(
        self,
        order: DeficitLongestPrefixMatch,
        base: OrderIndex,
        window: int,
        view: Callable[[], EngineView | None],
    ) -> None:
        super().__init__(base, window, view)
        self._order = order
        self._sizes: dict[str, int] = {}

    def add(self, seq: SequenceView) -> None:
        """Take a sequence in."""
        super().add(seq)
        tenant = seq.spec.tenant
        self._sizes[tenant] = self._sizes.get(tenant, 0) + 1
        self._order.credit(seq)

    def remove(self, seq: SequenceView) -> None:
        """Take a sequence out."""
        super().remove(seq)
        tenant = seq.spec.tenant
        self._sizes[tenant] -= 1
        if not self._sizes[tenant]:
            del self._sizes[tenant]

    def _solvent(self) -> set[str]:
        """Return the tenants with waiting sequences that have credit."""
        deficits = self._order.deficits
        return {tenant for tenant in self._sizes if deficits[tenant] > 0}

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield sequences of tenants in credit.

        A client out of credit is passed over while any that waits has some, even if that one's requests do
        not fit: that is what bounds how far one can get ahead.
        """
        order, going, misses = self._order, bool(self.waiting), 0
        arranged = self.arranged(now) if going else []
        while going:
            going = False
            solvent = self._solvent()
            for seq in arranged:
                if seq.number not in self.waiting:
                    continue
                tenant = seq.spec.tenant
                if tenant not in solvent:
                    if solvent:
                        continue
                    order.refill()
                    going = True
                    solvent = self._solvent()
                    if tenant not in solvent:
                        continue
                yield seq
                if seq.number not in self.waiting:
                    going = True
                else:
                    misses += 1
                    if misses >= MISSES:
                        return
                if tenant not in self._sizes or order.deficits[tenant] <= 0:
                    solvent.discard(tenant)
