"""Who has work: counts of waiting and running sequences by tenant, as fair orders need them."""

from __future__ import annotations

from penstock.core.policy import SequenceView


class Tenants:
    """Counts kept from the events of sequences' lives; a tenant with neither kind is not listed."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}
        self.running: dict[str, int] = {}

    def idle(self, tenant: str) -> bool:
        """Whether a tenant has nothing waiting and nothing running."""
        return tenant not in self.waiting and tenant not in self.running

    def arrive(self, seq: SequenceView) -> None:
        """Count a sequence that joins the queue."""
        _add(self.waiting, seq.spec.tenant)

    def admit(self, seq: SequenceView) -> None:
        """Count a sequence that leaves the queue for a slot."""
        _take(self.waiting, seq.spec.tenant)
        _add(self.running, seq.spec.tenant)

    def preempt(self, seq: SequenceView) -> None:
        """Count a running sequence that goes back to the queue."""
        _take(self.running, seq.spec.tenant)
        _add(self.waiting, seq.spec.tenant)

    def finish(self, seq: SequenceView, running: bool) -> None:
        """Count a sequence out."""
        _take(self.running if running else self.waiting, seq.spec.tenant)


def _add(counts: dict[str, int], tenant: str) -> None:
    counts[tenant] = counts.get(tenant, 0) + 1


def _take(counts: dict[str, int], tenant: str) -> None:
    left = counts.get(tenant, 0) - 1
    if left > 0:
        counts[tenant] = left
    else:
        counts.pop(tenant, None)
