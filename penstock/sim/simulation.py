"""A run: replicas, who sends them requests, who gets which, and what is noted of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from penstock.core.errors import PenstockError
from penstock.core.output import FinishReason, Output
from penstock.core.policy import RoutePolicy, SequenceView
from penstock.core.request import RequestSpec
from penstock.sim.events import EventLoop
from penstock.sim.executor import Answer
from penstock.sim.replica import Replica
from penstock.workload.driver import Driver, Served
from penstock.workload.request import TraceRequest

MakeReplica = Callable[..., Replica]
"""Called with (number, loop, answers, deliver, refuse)."""
_OWN_STREAMS = 1 << 40
"""Streams from here on are given to answers that have none of their own."""


class Collecting(Protocol):
    """Where a run's events go; `penstock.workload.metrics.collector.Collector` makes figures of them."""

    def arrived(self, request: TraceRequest, now: float) -> None:
        """A request reached the front door."""
        ...

    def tokens(self, request_id: str, count: int, now: float, cached: int = 0) -> None:
        """Tokens became available to the client."""
        ...

    def preempted(self, request_id: str, now: float) -> None:
        """A running request lost its place."""
        ...

    def finished(self, request_id: str, now: float, ok: bool, output: Output | None, detail: str) -> None:
        """The request ended; ``output`` is its last, None if it was refused."""
        ...


class Simulation:
    """Implements `penstock.workload.driver.World` for its driver.

    Args:
        makers: one per replica.
        driver: sends the requests.
        collector: notes what happens.
        route: chooses a replica for each request.
        progress: called now and then with (virtual seconds, requests ended).
    """

    def __init__(
        self,
        makers: Sequence[MakeReplica],
        driver: Driver,
        collector: Collecting,
        route: RoutePolicy,
        progress: Callable[[float, int], None] | None = None,
    ) -> None:
        self.loop = EventLoop()
        self.answers: dict[str, Answer] = {}
        self.replicas = [
            make(number, self.loop, self.answers, self._deliver, self._refuse)
            for number, make in enumerate(makers)
        ]
        for replica in self.replicas:
            # Told like a policy that watches: outputs do not say who lost its place.
            replica.core.scheduler.state.watch.preempt.append(self._preempted)
        self.ended = 0
        self._driver = driver
        self._collector = collector
        self._route = route
        self._progress = progress
        self._live: dict[str, tuple[TraceRequest, Replica, float]] = {}
        self._streams = _OWN_STREAMS

    # -- the driver's world ------------------------------------------------------------------------

    def now(self) -> float:
        """Return virtual seconds since the run began."""
        return self.loop.now()

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Have ``call`` run at ``time``."""
        self.loop.at(time, call)

    def submit(self, request: TraceRequest) -> None:
        """Send a request at its arrival, or now if that has passed."""
        self.loop.at(request.arrival, lambda: self._arrive(request))

    # -- the run -----------------------------------------------------------------------------------

    def run(self, until: float = float("inf")) -> float:
        """Run to the end, or until a virtual time; return the virtual seconds that passed."""
        self._driver.begin(self)
        self.loop.run(until)
        return self.loop.now()

    def _arrive(self, request: TraceRequest) -> None:
        now = self.loop.now()
        self._collector.arrived(request, now)
        spec = request.spec(now)
        replica = self.replicas[self._route.choose(spec, self.replicas, now)]
        stream = request.output_stream
        if not stream:
            self._streams += 1
            stream = self._streams
        self.answers[request.id] = Answer(request.output_tokens, stream)
        self._live[request.id] = (request, replica, now)
        replica.submit(spec)

    def _deliver(self, replica: Replica, outputs: list[Output]) -> None:
        now, note = self.loop.clock.time, self._collector.tokens
        for out in outputs:
            if out.tokens:
                note(out.request_id, len(out.tokens), now, out.cached_tokens)
            if out.finish is not None:
                self._end(out.request_id, out, "")

    def _preempted(self, seq: SequenceView, now: float) -> None:
        self._collector.preempted(seq.id, now)

    def _refuse(self, spec: RequestSpec, error: PenstockError) -> None:
        self._end(spec.id, None, str(error))

    def _end(self, request_id: str, output: Output | None, detail: str) -> None:
        now = self.loop.now()
        request, replica, arrival = self._live.pop(request_id)
        del self.answers[request_id]
        finish = output.finish if output is not None else None
        ok = finish is not None and finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
        detail = finish.detail if finish is not None else detail
        self.ended += 1
        if self._progress is not None and self.ended % 256 == 0:
            self._progress(now, self.ended)
        self._collector.finished(request_id, now, ok, output, detail)
        self._route.on_finish(request_id, replica.number, now)
        self._driver.served(
            Served(
                request=request,
                ok=ok,
                arrival=arrival,
                first_token=finish.timeline.first_token if finish is not None else 0.0,
                finished=now,
                detail=detail,
                cached_tokens=output.cached_tokens if output is not None else 0,
                preemptions=finish.preemptions if finish is not None else 0,
            ),
            self,
        )
