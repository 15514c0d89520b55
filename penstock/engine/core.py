"""The one loop. Offline, online, overlapped and simulated serving all run `EngineCore.tick`."""

from __future__ import annotations

import logging
import time
from collections import deque

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.clock import Clock
from penstock.core.errors import Overloaded, PenstockError, StepFault
from penstock.core.events import EventSink
from penstock.core.executor import Executor
from penstock.core.output import EngineStats, FinishReason, Output
from penstock.core.plan import StepPlan
from penstock.core.policy import StepCost
from penstock.core.request import RequestSpec
from penstock.core.scheduler import Scheduler
from penstock.core.state import SchedulerState
from penstock.engine.grammars import GrammarDesk
from penstock.engine.journal import JournalledScheduler, Sink
from penstock.engine.observation import Observation
from penstock.engine.pulse import Pulse
from penstock.engine.steps import StepRecorder
from penstock.policies.bundle import build_policies

log = logging.getLogger(__name__)


class MonotonicClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()


class EngineCore:
    """Drives a scheduler and an executor, one step a tick. Not thread-safe: one thread owns it.

    Args:
        scheduler: the brain.
        executor: the body.
        clock: source of time for both.
        depth: steps kept in flight besides the one collected.
        recorder: notes every step, for those who watch; None notes nothing.
        grammars: compiles and holds the grammars of requests; None ignores them (nothing samples tokens).
    """

    def __init__(
        self,
        scheduler: Scheduler,
        executor: Executor,
        clock: Clock,
        depth: int = 0,
        recorder: StepRecorder | None = None,
        grammars: GrammarDesk | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.executor = executor
        self.clock = clock
        self.recorder = recorder
        self.grammars = grammars
        self.pulse = Pulse()
        """Told of every step that begins; the loop shares its own."""
        self._depth = depth
        self._in_flight: deque[StepPlan] = deque()
        self._draining = False

    def submit(self, spec: RequestSpec) -> None:
        """Take a request in.

        Raises:
            InvalidRequest: it could never run here.
            Overloaded: the admit policy turned it away, or the engine is draining.
        """
        if self._draining:
            raise Overloaded("the server is shutting down", None)
        if spec.grammar is None or self.grammars is None:
            self.scheduler.submit(spec, self.clock.now())
            return
        self.grammars.take(spec)
        try:
            self.scheduler.submit(spec, self.clock.now())
        except PenstockError:
            self.grammars.let_go(spec.id)
            raise

    def cancel(
        self, request_id: str, detail: str = "client", reason: FinishReason = FinishReason.ABORT
    ) -> bool:
        """End a request early; its terminal event comes with the next tick. False if it is not live."""
        return self.scheduler.cancel(request_id, self.clock.now(), reason, detail)

    def has_work(self) -> bool:
        """Whether a tick could bring anything."""
        return self.scheduler.has_work()

    def tick(self) -> list[Output]:
        """Keep the pipeline full, land its oldest step, and return what happened since the last tick."""
        self.fill()
        return self.land()

    def fill(self) -> int | None:
        """The first half of a tick: plan and submit steps until the pipeline is full.

        Returns:
            The ticket of the oldest step in flight, which `land` will wait for; None if there is none.
        """
        while len(self._in_flight) <= self._depth:
            plan = self.scheduler.plan(self.clock.now())
            if plan is None:
                break
            if self.recorder is not None:
                self.recorder.planned(plan)
            self.pulse.begin(plan.ticket, len(plan.items), plan.shape.tokens)
            try:
                self.executor.submit(plan)
            except StepFault as fault:
                self._settle()
                self._fail(plan, fault)
                break
            self._in_flight.append(plan)
        return self._in_flight[0].ticket if self._in_flight else None

    def land(self) -> list[Output]:
        """The second half of a tick: wait for the oldest step, if any, and return what happened."""
        if self._in_flight:
            self._land_oldest()
        outputs = self.scheduler.take_outputs()
        if self.recorder is not None:
            self.recorder.news(outputs)
        if self.grammars is not None:
            self.grammars.landed(outputs)
        return outputs

    def _land_oldest(self) -> None:
        plan = self._in_flight.popleft()
        try:
            result = self.executor.collect(plan.ticket)
        except StepFault as fault:
            # Later steps were built on the failed one: wait for them, then forget them too.
            while self._in_flight:
                self._collect_and_ignore(self._in_flight.popleft())
            self._fail(plan, fault)
            return
        self.scheduler.land(result, self.clock.now())
        if self.recorder is not None:
            self.recorder.landed(plan, result.seconds)

    def _settle(self) -> None:
        while self._in_flight:
            self._land_oldest()

    def _collect_and_ignore(self, plan: StepPlan) -> None:
        try:
            self.executor.collect(plan.ticket)
        except StepFault:
            log.debug("step %d, built on a failed one, failed too", plan.ticket)

    def _fail(self, plan: StepPlan, fault: StepFault) -> None:
        log.warning("step %d of %d sequences failed: %s", plan.ticket, len(plan.items), fault)
        self.scheduler.abandon(plan.ticket, str(fault), self.clock.now())
        if self.recorder is not None:
            self.recorder.failed()

    def stats(self) -> EngineStats:
        """Return the figures of this moment, in O(1)."""
        return self.scheduler.stats()

    def observe(self, since: int = -1, most: int = 0) -> Observation | None:
        """Return what there is to see, with up to `most` steps after `since`; None if nothing is noted."""
        return None if self.recorder is None else self.recorder.observe(since, most)

    def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes; False while any is in use."""
        return self.scheduler.reset_prefix_cache()

    def start_profile(self) -> bool:
        """Begin to record steps; False if the executor cannot, or does already."""
        profiler = getattr(self.executor, "profiler", None)
        return profiler is not None and bool(profiler.start())

    def stop_profile(self) -> str:
        """Write what was recorded and return the file's path; empty if nothing was."""
        profiler = getattr(self.executor, "profiler", None)
        return "" if profiler is None else str(profiler.stop())

    def drain(self) -> None:
        """Stop admitting; requests already taken in go on."""
        self._draining = True

    def abort_all(self, detail: str) -> None:
        """End every live request; their terminal events come with the next tick."""
        for request_id in self.scheduler.live_ids():
            self.cancel(request_id, detail)

    def close(self) -> None:
        """Release the executor; idempotent."""
        if self.recorder is not None:
            self.recorder.close()
        if isinstance(self.scheduler, JournalledScheduler):
            self.scheduler.flush()
        self.executor.close()


def build_engine(
    executor: Executor,
    schedule: ScheduleConfig,
    cache: CacheConfig | None = None,
    clock: Clock | None = None,
    sink: EventSink | None = None,
    cost: StepCost | None = None,
    journal: Sink | None = None,
    record: bool = False,
) -> EngineCore:
    """Put an engine together around an executor.

    Args:
        executor: the body; its spec bounds the scheduler.
        schedule: budgets and policies; ``max_num_batched_tokens`` and ``pipeline_depth`` of 0 and -1 fall
            back to 512 and the executor's own depth.
        cache: for ``enable_prefix_caching``.
        clock: source of time; the machine's monotonic clock by default.
        sink: receiver of state transitions.
        cost: step times, for policies that ask.
        journal: receives a line for everything asked and decided; see `penstock.engine.journal`.
        record: whether steps are noted for those who watch; see `penstock.engine.steps`.

    Raises:
        ConfigError: a policy string cannot be read or used.
    """
    spec = executor.spec()
    cache = cache or CacheConfig()
    state = SchedulerState(
        spec,
        build_policies(schedule, cache),
        max_seqs=schedule.max_num_seqs,
        max_tokens=schedule.max_num_batched_tokens or 512,
        prefix_caching=cache.enable_prefix_caching,
        prefix_wait=schedule.prefix_wait,
        sink=sink,
        cost=cost,
    )
    scheduler = Scheduler(state) if journal is None else JournalledScheduler(state, schedule, cache, journal)
    depth = spec.pipeline_depth if schedule.pipeline_depth < 0 else schedule.pipeline_depth
    clock = clock or MonotonicClock()
    recorder = StepRecorder(state, clock) if record else None
    compiler = getattr(executor, "grammars", None)
    grammars = None if compiler is None else GrammarDesk(compiler)
    return EngineCore(scheduler, executor, clock, depth, recorder, grammars)
