"""Who sends requests: an open-loop list, or something that reacts to answers (agents, conversations, DAGs).

A driver runs unchanged in the simulator and against a real engine; the world it lives in hides which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from penstock.workload.request import TraceRequest


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one request, as its sender sees it."""

    request: TraceRequest
    ok: bool
    """It finished by itself (stop or length); otherwise it was refused, aborted or failed."""
    arrival: float
    """World seconds, like all times here."""
    first_token: float
    finished: float
    detail: str = ""
    cached_tokens: int = 0
    preemptions: int = 0
    tokens: tuple[int, ...] = ()
    """What was generated; only live worlds tell."""


class World(Protocol):
    """What a driver can do. Times are seconds since the run began."""

    def now(self) -> float:
        """Return the current time."""
        ...

    def submit(self, request: TraceRequest) -> None:
        """Send a request at ``request.arrival`` (now, if that has passed)."""
        ...

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Have ``call`` run at ``time``, e.g. when a tool returns."""
        ...


class Driver(Protocol):
    """A source of requests. The run ends when nothing is due, running or waiting any more."""

    def begin(self, world: World) -> None:
        """Send the first requests or set timers."""
        ...

    def served(self, result: Served, world: World) -> None:
        """React to the end of a request."""
        ...


class OpenLoop:
    """Sends a list of requests at their arrival times, whatever happens; reads ahead one request at a time.

    Args:
        requests: in order of arrival; may be a generator of any length.
    """

    def __init__(self, requests: Iterable[TraceRequest]) -> None:
        self._rest: Iterator[TraceRequest] = iter(requests)
        self._head = next(self._rest, None)

    def begin(self, world: World) -> None:
        """Send what is due and set a timer for the next."""
        while self._head is not None and self._head.arrival <= world.now():
            world.submit(self._head)
            self._head = next(self._rest, None)
        if self._head is not None:
            world.at(self._head.arrival, lambda: self.begin(world))

    def served(self, result: Served, world: World) -> None:
        """Ignore it: open loop."""
