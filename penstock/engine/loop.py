"""The engine's side of the boundary: drain the inbox, tick, send; idle means blocked on the socket."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from penstock.core.errors import PenstockError
from penstock.core.output import Output
from penstock.engine.build import Core
from penstock.engine.ipc import EnginePort
from penstock.engine.messages import (
    Accepted,
    Boot,
    Call,
    Cancel,
    FromEngine,
    Lease,
    Outputs,
    Rejected,
    Reply,
    Shutdown,
    Submit,
    ToEngine,
    refusal_of,
)
from penstock.engine.parking import Parking
from penstock.engine.pulse import Pulse

log = logging.getLogger(__name__)

_STALLED_MS = 5
"""Pause when there is work but a tick could not advance it, so that waiting does not burn a core."""


class _Peer:
    """One API connection: its unfinished sequences and when it was last heard of."""

    __slots__ = ("live", "seen")

    def __init__(self, now: float) -> None:
        self.live: set[str] = set()
        self.seen = now


class EngineLoop:
    """Serves the connections of a port until told to shut down or its parent is gone.

    Every sequence is leased: a connection that names its live sequences without this one, or that is not
    heard of for ``lease_timeout`` seconds, has its sequences cancelled.

    Args:
        core: the engine; this thread owns it.
        port: where the clients are.
        lease_timeout: seconds of silence after which a connection counts as gone.
        pulse: beaten at every turn, for whoever watches over the engine.
        now: source of monotonic seconds.
    """

    def __init__(
        self,
        core: Core,
        port: EnginePort,
        *,
        lease_timeout: float = 15.0,
        pulse: Pulse | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = core
        self._pulse = core.pulse = pulse or Pulse()
        self._port = port
        self._lease_timeout = lease_timeout
        self._now = now
        self._peers: dict[bytes, _Peer] = {}
        self._owner: dict[str, bytes] = {}
        self._parking = Parking(port.wake)
        self._stopping = False
        self._next_sweep = 0.0
        self._steps = 0

    def run(self) -> None:
        """Loop. Whatever the core raises comes out: the engine is then not to be trusted any more."""
        pause: int | None = 0
        while not self._stopping:
            if self._port.wait(pause):
                log.warning("the parent process is gone; ending")
                self._stopping = True
            self._pulse.beat()
            self._drain_inbox()
            self._admit_parked()
            outputs = self._core.tick()
            self._deliver(outputs)
            self._sweep()
            pause = self._pause(bool(outputs))
        self._core.abort_all("shutdown")
        self._deliver(self._core.tick())

    def _pause(self, progressed: bool) -> int | None:
        """Milliseconds for which the next wait may block: none with work to do, no limit without."""
        if not self._core.has_work():
            return None
        if progressed:
            return 0
        before, self._steps = self._steps, self._core.stats().steps
        return 0 if self._steps != before else _STALLED_MS

    def _drain_inbox(self) -> None:
        while (received := self._port.receive()) is not None:
            name, message = received
            peer = self._peers.get(name)
            if peer is None:
                peer = self._peers[name] = _Peer(0.0)
            peer.seen = self._now()
            self._handle(name, peer, message)

    def _handle(self, name: bytes, peer: _Peer, message: ToEngine) -> None:
        match message:
            case Submit():
                bound = any(spec.grammar is not None for spec in message.specs)
                if not bound or not self._parking.park(name, message, self._core.grammars):
                    self._port.send(name, self._submit(name, peer, message))
            case Cancel():
                self._parking.drop(name, message.ids)
                self._cancel(peer, message)
            case Lease():
                forgotten = peer.live.difference(message.ids)
                if forgotten:
                    log.warning("cancelling %d requests that the API side no longer knows", len(forgotten))
                    self._cancel(peer, Cancel(tuple(forgotten)))
            case Call():
                self._port.send(name, self._answer(message))
            case Shutdown():
                self._stopping = True
            case Boot():
                log.warning("ignoring a second boot message")

    def _admit_parked(self) -> None:
        """Submit what has waited for its grammar."""
        for name, message, _ in self._parking.ready():
            peer = self._peers.get(name)
            if peer is not None:
                self._port.send(name, self._submit(name, peer, message))

    def _submit(self, name: bytes, peer: _Peer, message: Submit) -> FromEngine:
        taken: list[str] = []
        try:
            for spec in message.specs:
                self._core.submit(spec)
                taken.append(spec.id)
        except PenstockError as error:
            for request_id in taken:
                self._core.cancel(request_id, "overload")
            return Rejected(message.seq, refusal_of(error))
        peer.live.update(taken)
        for request_id in taken:
            self._owner[request_id] = name
        return Accepted(message.seq)

    def _cancel(self, peer: _Peer, message: Cancel) -> None:
        for request_id in message.ids:
            if request_id in peer.live:
                self._core.cancel(request_id, message.detail, message.reason)

    def _answer(self, call: Call) -> Reply:
        match call.name:
            case "stats":
                return Reply(call.seq, stats=self._core.stats())
            case "observe":
                return Reply(call.seq, observation=self._core.observe(call.since, call.most))
            case "reset_prefix_cache":
                return Reply(call.seq, done=self._core.reset_prefix_cache())
            case "start_profile":
                return Reply(call.seq, done=self._core.start_profile())
            case "stop_profile":
                return Reply(call.seq, text=self._core.stop_profile())
            case "drain":
                self._core.drain()
                return Reply(call.seq, done=True)

    def _deliver(self, outputs: Iterable[Output]) -> None:
        by_peer: dict[bytes, list[Output]] = {}
        for output in outputs:
            name = self._owner.get(output.request_id)
            if name is None:
                continue  # a sequence of a group that was refused as a whole
            by_peer.setdefault(name, []).append(output)
            if output.finish is not None:
                del self._owner[output.request_id]
                self._peers[name].live.discard(output.request_id)
        for name, news in by_peer.items():
            self._port.send(name, Outputs(tuple(news)))

    def _sweep(self) -> None:
        """Cancel what silent connections left behind; looks at connections, not at requests."""
        now = self._now()
        if now < self._next_sweep:
            return
        self._next_sweep = now + self._lease_timeout / 4
        for name, peer in list(self._peers.items()):
            if now - peer.seen <= self._lease_timeout:
                continue
            if peer.live:
                log.warning("cancelling %d requests of an API process that went silent", len(peer.live))
                self._cancel(peer, Cancel(tuple(peer.live)))
            else:
                del self._peers[name]
