"""One engine in virtual time: the real `EngineCore`, ticked in two halves by events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from penstock.core.errors import PenstockError
from penstock.core.executor import Executor
from penstock.core.output import FinishReason, Output
from penstock.core.policy import EngineView
from penstock.core.request import RequestSpec
from penstock.engine.core import EngineCore
from penstock.sim.events import EventLoop

STALLED_SECONDS = 0.005
"""How long an engine with work that cannot be planned waits before it looks again, as the real loop does."""


class TimedExecutor(Executor, Protocol):
    """An executor that knows when its steps are done, and is only asked for them then."""

    def due(self, ticket: int) -> float:
        """Return when the oldest step, which must be ``ticket``, is done."""
        ...


class Replica:
    """Implements `penstock.core.policy.ReplicaView`.

    Like the engine's own loop it drains its inbox, plans, waits for the oldest step and lands it; requests
    that arrive during a step are taken in after it.

    Args:
        number: its place among the replicas.
        core: the engine, on ``executor`` and the loop's clock.
        executor: answers when the loop's clock says so.
        loop: virtual time.
        deliver: receives each landing's outputs, at the time of landing.
        refuse: receives requests that the engine does not take, with the reason.
        ready: given the time and the number of outputs handed out, returns when the engine looks at its
            inbox and plans next: the CPU time between two steps. None: at once.
    """

    def __init__(
        self,
        number: int,
        core: EngineCore,
        executor: TimedExecutor,
        loop: EventLoop,
        deliver: Callable[[Replica, list[Output]], None],
        refuse: Callable[[RequestSpec, PenstockError], None],
        ready: Callable[[float, int], float] | None = None,
    ) -> None:
        self.number = number
        self.core = core
        self.executor = executor
        self.outstanding = 0
        self._loop = loop
        self._deliver = deliver
        self._refuse = refuse
        self._ready = ready
        self._inbox: list[RequestSpec] = []
        self._leaving: list[tuple[str, str, FinishReason]] = []
        self._busy = False
        self._stalled_since = 0.0

    @property
    def engine(self) -> EngineView:
        """The engine as policies see it."""
        return self.core.scheduler.view

    def cached_tokens(self, prompt_ids: tuple[int, ...]) -> int:
        """Return how many leading tokens of a prompt this replica's prefix cache holds."""
        kv = self.core.scheduler.state.kv
        return kv.page * len(kv.index.match(kv.namespace_of("", None), prompt_ids, len(prompt_ids)))

    def submit(self, spec: RequestSpec) -> None:
        """Put a request in the inbox."""
        self.outstanding += 1
        self._inbox.append(spec)
        self._wake()

    def cancel(
        self, request_id: str, detail: str = "client", reason: FinishReason = FinishReason.ABORT
    ) -> None:
        """Ask for a request's early end."""
        self._leaving.append((request_id, detail, reason))
        self._wake()

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            self._next_fill(0)

    def _next_fill(self, outputs: int) -> None:
        now = self._loop.now()
        self._loop.at(now if self._ready is None else self._ready(now, outputs), self._fill)

    def _drain(self) -> None:
        inbox, self._inbox = self._inbox, []
        for spec in inbox:
            try:
                self.core.submit(spec)
            except PenstockError as error:
                self.outstanding -= 1
                self._refuse(spec, error)
        leaving, self._leaving = self._leaving, []
        for request_id, detail, reason in leaving:
            self.core.cancel(request_id, detail, reason)

    def _fill(self) -> None:
        if self._inbox or self._leaving:
            self._drain()
        ticket = self.core.fill()
        if ticket is not None:
            self._stalled_since = 0.0
            self._loop.at(self.executor.due(ticket), self._land)
            return
        self._hand_out(self.core.land())
        self._busy = False
        if self._inbox or self._leaving:
            self._wake()
        elif self.core.has_work():
            self._stall()

    def _stall(self) -> None:
        """Look again soon, as the real loop does; a run in which nothing else is to come has hung."""
        now = self._loop.now()
        self._stalled_since = self._stalled_since or now
        if not len(self._loop) and now - self._stalled_since > 3600:
            raise RuntimeError(f"replica {self.number}: work is waiting, but nothing can be planned")
        self._busy = True
        self._loop.at(now + STALLED_SECONDS, self._fill)

    def _land(self) -> None:
        outputs = self.core.land()
        self._hand_out(outputs)
        if self._ready is None:
            self._fill()
        else:
            self._next_fill(len(outputs))

    def _hand_out(self, outputs: list[Output]) -> None:
        if outputs:
            self.outstanding -= _ended(outputs)
            self._deliver(self, outputs)


def _ended(outputs: Iterable[Output]) -> int:
    return sum(1 for out in outputs if out.finish is not None)
