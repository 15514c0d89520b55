"""A driver's world in real time: what drives, notes and routes in a simulation, around real engines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from penstock.core.errors import PenstockError
from penstock.core.output import Finish, FinishReason, Output, Timeline
from penstock.core.policy import RoutePolicy, StepCost
from penstock.frontend.async_engine import AsyncEngine
from penstock.frontend.outputs import RequestOutput
from penstock.frontend.prompts import Prompt, RequestOptions
from penstock.policies.route.round_robin import RoundRobin
from penstock.sim.simulation import Collecting
from penstock.workload.driver import Driver, Served
from penstock.workload.request import TraceRequest

Ask = Callable[[TraceRequest], tuple[Prompt, Any]]
"""From a request to the prompt and the sampling parameters that are really sent."""


def as_traced(vocab_size: int) -> Ask:
    """Return an `Ask` that sends the trace's spans as token ids and stops where the trace did, greedily."""

    def ask(request: TraceRequest) -> tuple[Prompt, Any]:
        spec = request.spec(0.0, vocab_size)
        return spec.prompt_ids, spec.sampling

    return ask


class LiveReplica:
    """What a routing policy may see of a real engine: its load, and its cost model if it was given one.

    Implements `penstock.core.policy.ReplicaView` as far as can be known from outside: an engine in a process
    of its own does not show its books, so `engine` answers for `cost` only and no prefix is known.
    """

    def __init__(self, number: int, core: AsyncEngine, cost: StepCost | None = None) -> None:
        self.number = number
        self.core = core
        self.cost = cost
        self.outstanding = 0

    @property
    def engine(self) -> Any:
        """Return this object, which has ``cost`` and nothing else of an `EngineView`."""
        return self

    def cached_tokens(self, prompt_ids: tuple[int, ...]) -> int:
        """Return 0: unknown."""
        return 0


class LiveWorld:
    """Implements `penstock.workload.driver.World` for its driver; the live twin of `Simulation`.

    The driver and the collector are called in the event loop's thread, one call at a time, just as in the
    simulator. What a driver or collector raises ends the run.

    Args:
        engines: started, at least one; they stay open.
        driver: sends the requests.
        collector: notes what happens; None notes nothing.
        route: chooses an engine for each request; None takes turns.
        ask: what to send for a request; None sends the trace's token ids, folded into the vocabulary.
        costs: step times of each engine, for routing policies that ask.
        clock: source of seconds.
    """

    def __init__(
        self,
        engines: Sequence[AsyncEngine],
        driver: Driver,
        collector: Collecting | None = None,
        route: RoutePolicy | None = None,
        *,
        ask: Ask | None = None,
        costs: Sequence[StepCost] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = [*costs, *[None] * (len(engines) - len(costs))]
        self.replicas = [
            LiveReplica(number, engine, cost)
            for number, (engine, cost) in enumerate(zip(engines, known, strict=True))
        ]
        self.ended = 0
        self._driver = driver
        self._collector = collector
        self._route = route or RoundRobin()
        self._ask = ask or as_traced(engines[0].info.vocab_size)
        self._clock = clock
        self._began = clock()
        self._pending = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._done = asyncio.Event()
        self._fault: BaseException | None = None

    # -- the driver's world ------------------------------------------------------------------------

    def now(self) -> float:
        """Return seconds since the run began."""
        return self._clock() - self._began

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Have ``call`` run at ``time``."""
        self._pending += 1
        asyncio.get_running_loop().call_later(max(0.0, time - self.now()), self._guarded, call)

    def submit(self, request: TraceRequest) -> None:
        """Send a request at its arrival, or now if that has passed."""
        self.at(request.arrival, lambda: self._arrive(request))

    # -- the run -----------------------------------------------------------------------------------

    async def run(self, limit: float | None = None) -> float:
        """Run until nothing is due, running or waiting any more; return the seconds that passed.

        Args:
            limit: seconds after which what is left is cancelled.

        Raises:
            TimeoutError: the limit passed.
        """
        self._began = self._clock()
        self._pending += 1
        self._guarded(lambda: self._driver.begin(self))
        try:
            await asyncio.wait_for(self._done.wait(), limit)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._fault is not None:
            raise self._fault
        return self.now()

    def _guarded(self, call: Callable[[], None]) -> None:
        """Run one call of the driver's and count it off."""
        try:
            if not self._done.is_set():
                call()
        except BaseException as error:
            self._fail(error)
        self._less()

    def _less(self) -> None:
        self._pending -= 1
        if not self._pending:
            self._done.set()

    def _fail(self, error: BaseException) -> None:
        self._fault = self._fault or error
        self._done.set()

    def _arrive(self, request: TraceRequest) -> None:
        now = self.now()
        if self._collector is not None:
            self._collector.arrived(request, now)
        prompt, params = self._ask(request)
        replica = self.replicas[self._route.choose(request.spec(now), self.replicas, now)]
        replica.outstanding += 1
        self._pending += 1
        task = asyncio.get_running_loop().create_task(self._follow(request, replica, prompt, params, now))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(
        self, request: TraceRequest, replica: LiveReplica, prompt: Prompt, params: Any, arrival: float
    ) -> None:
        tokens: list[int] = []
        first, detail, last = 0.0, "", None
        try:
            try:
                stream = await replica.core.submit(
                    prompt, params, request_id=request.id, options=options_of(request)
                )
                async for last in stream:
                    new = last.outputs[0].token_ids if last.outputs else ()
                    if new:
                        first = first or self.now()
                        tokens.extend(new)
                        if self._collector is not None:
                            cached = last.usage.cached_tokens
                            self._collector.tokens(request.id, len(new), self.now(), cached)
            except PenstockError as error:
                detail = str(error)
            self._end(request, replica, arrival, first, last, detail, tuple(tokens))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)
        self._less()

    def _end(
        self,
        request: TraceRequest,
        replica: LiveReplica,
        arrival: float,
        first: float,
        last: RequestOutput | None,
        detail: str,
        tokens: tuple[int, ...],
    ) -> None:
        now, output = self.now(), _terminal(request.id, last)
        finish = output.finish if output is not None else None
        ok = finish is not None and finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
        detail = finish.detail if finish is not None else detail
        replica.outstanding -= 1
        self.ended += 1
        if self._collector is not None:
            self._collector.finished(request.id, now, ok, output, detail)
        self._route.on_finish(request.id, replica.number, now)
        self._driver.served(
            Served(
                request=request,
                ok=ok,
                arrival=arrival,
                first_token=first,
                finished=now,
                detail=detail,
                cached_tokens=output.cached_tokens if output is not None else 0,
                preemptions=finish.preemptions if finish is not None else 0,
                tokens=tokens,
            ),
            self,
        )


def options_of(request: TraceRequest) -> RequestOptions:
    """Return how a request of a workload wants to be scheduled.

    A deadline that has passed already, which agents may be late for, becomes one that is about to: front ends
    take none below 0.
    """
    slo = request.slo
    if slo is not None and slo.deadline is not None:
        slo = msgspec.structs.replace(slo, deadline=max(slo.deadline, 1e-3))
    return RequestOptions(
        tenant=request.tenant,
        weight=request.weight,
        priority=request.priority,
        slo=slo,
        program=request.program,
        turn=request.turn,
        length_score=request.length_score,
        group=request.group,
        group_tokens=request.group_tokens,
    )


def _terminal(request_id: str, last: RequestOutput | None) -> Output | None:
    """Return the engine's own form of a request's end, which collectors take."""
    one = last.outputs[0] if last is not None and last.outputs else None
    if last is None or one is None or one.finish_reason is None:
        return None
    finish = Finish(one.finish_reason, one.detail, None, one.timeline or Timeline(), one.preemptions)
    return Output(request_id, (), finish, last.usage.cached_tokens)
