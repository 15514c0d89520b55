"""The virtual token counters of VTC: one number per tenant, lifted when a tenant comes back from idleness."""

from __future__ import annotations

from typing import Literal, get_args

from penstock.core.policy import SequenceView
from penstock.policies.order.tenants import Tenants

Lift = Literal["paper", "artifact", "none"]
REBASE_CHARGES = 1 << 20
"""After so many charges the counters are brought down again; their differences are what counts."""
KNOWN_TENANTS = 1 << 14
"""Above so many, idle tenants whose counter the lift would replace anyway are forgotten."""


class Ledger:
    """Counters of service, in service units divided by weight. They survive idleness.

    The lift (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, algorithm 2): a tenant
    without waiting work that brings some starts at least where the least-charged tenant with waiting work
    is; if nobody else waits, where the tenant is whose work left the queue last. The artifact leaves the
    second rule out; without either (least counter first) idleness earns credit.

    Args:
        lift: which of these.
        allowance: service units by which a tenant that runs nothing may be ahead and still go first.
    """

    def __init__(self, lift: Lift = "paper", allowance: float = 0.0) -> None:
        if lift not in get_args(Lift):
            raise ValueError(f"the lift is one of {', '.join(get_args(Lift))}, got {lift!r}")
        if not isinstance(allowance, int | float) or allowance < 0:
            raise ValueError(f"the allowance is a number of service units, got {allowance!r}")
        self._lift = lift
        self._allowance = float(allowance)
        self.tenants = Tenants()
        self.counters: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._newest = 0
        self._last_left: str | None = None
        self._charges = 0

    def place(self, tenant: str) -> tuple[float, int, int]:
        """Return a tenant's sort key: its counter less the allowance, what it runs, how long it is known."""
        running = self.tenants.running.get(tenant, 0)
        return (
            self.counters.get(tenant, 0.0) - (0.0 if running else self._allowance),
            running,
            self._seen.get(tenant, self._newest),
        )

    def arrive(self, seq: SequenceView) -> None:
        """Note a newcomer, and lift its tenant if it has nothing else waiting."""
        self._join(seq.spec.tenant)
        self.tenants.arrive(seq)

    def admit(self, seq: SequenceView) -> None:
        """Note that a sequence left the queue for a slot."""
        self.tenants.admit(seq)
        self._note_left(seq.spec.tenant)

    def preempt(self, seq: SequenceView) -> None:
        """Note that a running sequence is about to wait again; its tenant joins like any other."""
        self._join(seq.spec.tenant)
        self.tenants.preempt(seq)

    def finish(self, seq: SequenceView, running: bool) -> None:
        """Note a sequence's end."""
        self.tenants.finish(seq, running)
        if not running:
            self._note_left(seq.spec.tenant)

    def charge(self, seq: SequenceView, units: float) -> None:
        """Add service to the tenant of a sequence; negative units are a refund."""
        tenant = seq.spec.tenant
        self.counters[tenant] = self.counters.get(tenant, 0.0) + units / seq.spec.weight
        self._charges += 1
        if self._charges >= REBASE_CHARGES:
            self.rebase()

    def _join(self, tenant: str) -> None:
        if tenant not in self._seen:
            self._newest += 1
            self._seen[tenant] = self._newest
            self.counters.setdefault(tenant, 0.0)
        if self._lift == "none" or tenant in self.tenants.waiting:
            return
        floor = self._floor()
        if floor is not None:
            self.counters[tenant] = max(self.counters[tenant], floor)

    def _note_left(self, tenant: str) -> None:
        if tenant not in self.tenants.waiting:
            self._last_left = tenant

    def _floor(self) -> float | None:
        """Return where a tenant without waiting work would be lifted to; None: nowhere."""
        waiting = self.tenants.waiting
        if waiting:
            return min([self.counters[tenant] for tenant in waiting])
        if self._lift == "paper" and self._last_left is not None:
            return self.counters[self._last_left]
        return None

    def rebase(self) -> None:
        """Bring the least counter to zero; their order and differences stay."""
        self._charges = 0
        if self._lift == "paper" and len(self.counters) > KNOWN_TENANTS:
            self._forget()
        base = min(self.counters.values(), default=0.0)
        if base:
            self.counters = {tenant: count - base for tenant, count in self.counters.items()}

    def _forget(self) -> None:
        """Drop idle tenants below the floor: it never falls, so on their return they start there anyway."""
        floor = self._floor()
        if floor is None:
            return
        for tenant in [t for t, count in self.counters.items() if count <= floor]:
            if self.tenants.idle(tenant) and tenant != self._last_left:
                del self.counters[tenant], self._seen[tenant]
