"""What is known of the programs (agents, conversations) that requests are turns of."""

from __future__ import annotations

from collections import OrderedDict

from penstock.core.kv.pins import Owner, Reason
from penstock.core.request import RequestSpec

REMEMBERED = 65536
"""Programs remembered of which nothing is live; a client may never say which turn is the last."""


def owner_of(spec: RequestSpec, reason: Reason) -> Owner | None:
    """Return on whose behalf a request's pages may be kept, for the given reason."""
    name = spec.program if reason == "program" else spec.group
    return None if name is None else Owner(reason, spec.tenant, name)


class ProgramBook:
    """When each program first arrived.

    Args:
        limit: idle programs remembered.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._live: dict[Owner, list[float]] = {}
        """Of programs with live sequences: first arrival and how many."""
        self._idle: OrderedDict[Owner, float] = OrderedDict()

    def arrive(self, spec: RequestSpec, now: float) -> float:
        """Take note of a new sequence; return when its program first arrived (``now`` without a program)."""
        owner = owner_of(spec, "program")
        if owner is None:
            return now
        entry = self._live.get(owner)
        if entry is None:
            entry = self._live[owner] = [self._idle.pop(owner, now), 0]
        entry[1] += 1
        return entry[0]

    def end(self, spec: RequestSpec) -> None:
        """Take note of a sequence's end; a program is forgotten with its last turn."""
        owner = owner_of(spec, "program")
        if owner is None:
            return
        entry = self._live[owner]
        entry[1] -= 1
        if entry[1]:
            return
        del self._live[owner]
        if spec.turn is not None and spec.turn.last:
            return
        self._idle[owner] = entry[0]
        if len(self._idle) > self._limit:
            self._idle.popitem(last=False)
