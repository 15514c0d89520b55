"""A driver's world around an engine in this thread, in real time: what `Simulation` is in virtual time.

Requests reach the engine when they are due or, as in a server, when the step that was running then has ended.
There is no API process and no text, so that a recorded run and its simulation differ in nothing but the
steps' times.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

from penstock.core.errors import PenstockError
from penstock.core.output import FinishReason, Output
from penstock.engine.core import EngineCore
from penstock.sim.simulation import Collecting
from penstock.workload.driver import Driver, Served
from penstock.workload.request import TraceRequest


class PacedRun:
    """Implements `penstock.workload.driver.World`.

    Args:
        engine: idle, on the machine's monotonic clock; owned by this run until it ends.
        collector: notes what happens, in seconds from the start of the run.
        vocab_size: of the model, to fold the requests' token ids into.
        progress: called with the requests ended so far.
    """

    def __init__(
        self,
        engine: EngineCore,
        collector: Collecting,
        vocab_size: int,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.ended = 0
        self._engine = engine
        self._collector = collector
        self._vocab = vocab_size
        self._progress = progress
        self._start = 0.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._set = 0
        self._live: dict[str, TraceRequest] = {}
        self._driver: Driver | None = None

    def now(self) -> float:
        """Return seconds since the run began."""
        return self._engine.clock.now() - self._start

    def at(self, due: float, call: Callable[[], None]) -> None:
        """Have ``call`` run at ``due``, or as soon after as the engine lets go of the thread."""
        self._set += 1
        heapq.heappush(self._timers, (due, self._set, call))

    def submit(self, request: TraceRequest) -> None:
        """Send a request at its arrival."""
        self.at(request.arrival, lambda: self._arrive(request))

    def run(self, driver: Driver) -> float:
        """Run until nothing is due and nothing lives; return the seconds that passed."""
        self._driver = driver
        self._start = self._engine.clock.now()
        driver.begin(self)
        while self._timers or self._engine.has_work():
            while self._timers and self._timers[0][0] <= self.now():
                heapq.heappop(self._timers)[2]()
            if self._engine.has_work():
                self._take(self._engine.tick())
            elif self._timers:
                time.sleep(max(0.0, self._timers[0][0] - self.now()))
        return self.now()

    def _arrive(self, request: TraceRequest) -> None:
        due = max(request.arrival, 0.0)
        self._collector.arrived(request, due)
        self._live[request.id] = request
        try:
            self._engine.submit(request.spec(self._start + due, self._vocab))
        except PenstockError as error:
            self._end(request.id, None, str(error))

    def _take(self, outputs: list[Output]) -> None:
        now = self.now()
        for out in outputs:
            if out.tokens:
                self._collector.tokens(out.request_id, len(out.tokens), now, out.cached_tokens)
            if out.finish is not None:
                self._end(out.request_id, out, out.finish.detail)

    def _end(self, request_id: str, output: Output | None, detail: str) -> None:
        assert self._driver is not None
        now, request = self.now(), self._live.pop(request_id)
        finish = output.finish if output is not None else None
        ok = finish is not None and finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
        self.ended += 1
        if self._progress is not None:
            self._progress(self.ended)
        self._collector.finished(request_id, now, ok, None, detail)
        self._driver.served(
            Served(
                request=request,
                ok=ok,
                arrival=max(request.arrival, 0.0),
                first_token=finish.timeline.first_token - self._start if finish is not None else 0.0,
                finished=now,
                detail=detail,
                cached_tokens=output.cached_tokens if output is not None else 0,
                preemptions=finish.preemptions if finish is not None else 0,
            ),
            self,
        )
