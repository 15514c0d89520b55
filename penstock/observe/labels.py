"""Label values of bounded number: what clients send must not decide how many series a server has."""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "(other)"
"""Stands for every tenant that has no label of its own."""
DEFAULT = "default"
"""Tenant of requests that name none."""


class TenantLabels:
    """Gives the first tenants that come a label of their own, and all later ones `OTHER`.

    Args:
        most: tenants with a label of their own, besides `DEFAULT` and those configured.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._named = {DEFAULT}
        self._first_seen = 0

    def configure(self, tenants: Iterable[str]) -> None:
        """Give tenants that the operator named labels of their own, whatever the bound."""
        self._named.update(tenants)

    def of(self, tenant: str) -> str:
        """Return the label of a tenant."""
        if tenant in self._named:
            return tenant
        if self._first_seen >= self._most or tenant == OTHER:
            return OTHER
        self._first_seen += 1
        self._named.add(tenant)
        return tenant


def priority_class(priority: int) -> str:
    """Return ``high``, ``normal`` or ``low``; smaller numbers run first, 0 is normal."""
    if priority == 0:
        return "normal"
    return "high" if priority < 0 else "low"


PRIORITIES = ("high", "normal", "low")
