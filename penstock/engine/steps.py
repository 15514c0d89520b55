"""Notes of every step, kept in a ring: about a microsecond a step, and all the arithmetic is the reader's."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from penstock.core.clock import Clock
from penstock.core.output import Output
from penstock.core.plan import PlanShape, StepPlan
from penstock.core.policy import SequenceView
from penstock.core.state import SchedulerState
from penstock.core.view import snapshot
from penstock.engine.observation import Observation, Rates, Seconds, StepRecord, TenantLoad
from penstock.observe.labels import OTHER

KEPT = 2048
"""Steps remembered: some seconds of a busy engine."""
RATE_SECONDS = 5.0
"""Rates are averages over this time."""
NAMED_TENANTS = 16
"""Tenants told one by one."""
BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Seconds. Planning takes a tenth of a millisecond, a step of a large prompt on a CPU many seconds."""


class StepListener(Protocol):
    """Wants to hear of every step as it lands; must neither block nor raise."""

    def step(self, record: StepRecord, shape: PlanShape) -> None:
        """Take note of a step."""
        ...

    def news(self, outputs: Sequence[Output]) -> None:
        """Take note of what happened to requests."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class Tally:
    """A histogram of seconds under way."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def read(self) -> Seconds:
        """Return what was counted."""
        return Seconds(BOUNDS, tuple(self.counts), self.total)


class TenantBook:
    """Sequences by tenant, counted as they come and go; holds no tenant that has none.

    Args:
        state: the books; its events are listened to.
    """

    def __init__(self, state: SchedulerState) -> None:
        self._counts: dict[str, list[int]] = {}
        self.admitted = 0
        watch = state.watch
        watch.arrive.append(self._arrive)
        watch.admit.append(self._admit)
        watch.preempt.append(self._preempt)
        watch.finish.append(self._finish)

    def _arrive(self, seq: SequenceView, now: float) -> None:
        self._counts.setdefault(seq.spec.tenant, [0, 0])[1] += 1

    def _admit(self, seq: SequenceView, now: float) -> None:
        counts = self._counts[seq.spec.tenant]
        counts[0] += 1
        counts[1] -= 1
        self.admitted += 1

    def _preempt(self, seq: SequenceView, now: float) -> None:
        counts = self._counts[seq.spec.tenant]
        counts[0] -= 1
        counts[1] += 1

    def _finish(self, seq: SequenceView, now: float, running: bool) -> None:
        counts = self._counts[seq.spec.tenant]
        counts[0 if running else 1] -= 1
        if counts == [0, 0]:
            del self._counts[seq.spec.tenant]

    def read(self, most: int = NAMED_TENANTS) -> tuple[TenantLoad, ...]:
        """Return the ``most`` busiest tenants, and the sum of the rest if there is any."""
        counts = self._counts
        busiest = heapq.nlargest(most, counts, key=lambda tenant: (sum(counts[tenant]), tenant))
        loads = [TenantLoad(tenant, *counts[tenant]) for tenant in busiest]
        if len(counts) > most:
            running = sum(one[0] for one in counts.values()) - sum(load.running for load in loads)
            waiting = sum(one[1] for one in counts.values()) - sum(load.waiting for load in loads)
            loads.append(TenantLoad(OTHER, running, waiting))
        return tuple(loads)


_Totals = tuple[float, int, int, int, int, float]
"""Engine time; prompt tokens computed, found in the cache, looked up; tokens generated; device seconds."""


class StepRecorder:
    """Told by the engine of every step; `observe` makes something of it when somebody asks.

    Args:
        state: the books that the steps belong to.
        clock: the engine's.
    """

    def __init__(self, state: SchedulerState, clock: Clock) -> None:
        self._s = state
        self._now = clock.now
        self._open: dict[int, tuple[float, float]] = {}
        """When each step in flight was handed over, and what its planning took."""
        self._ring: deque[tuple[StepRecord, _Totals]] = deque(maxlen=KEPT)
        self._base: _Totals = (self._now(), 0, 0, 0, 0, 0.0)
        """The totals just before the oldest step of the ring."""
        self._device, self._host = Tally(), Tally()
        self._failed = 0
        self.tenants = TenantBook(state)
        self.listener: StepListener | None = None
        """Set by whoever wants to hear of every step."""

    def planned(self, plan: StepPlan) -> None:
        """Note a step that was just decided; the books' time is when deciding began."""
        now = self._now()
        self._open[plan.ticket] = (now, now - self._s.now)

    def landed(self, plan: StepPlan, device: float) -> None:
        """Note a step whose result was just taken in; the books' time is when taking it in began."""
        s, shape = self._s, plan.shape
        start, planning = self._open.pop(plan.ticket)
        host = planning + self._now() - s.now
        pool = s.kv.pool
        record = StepRecord(
            plan.ticket,
            start,
            s.now - start,
            device,
            host,
            shape.prefill_tokens,
            shape.tokens - shape.prefill_tokens,
            shape.sequences,
            len(s.running),
            len(s.waiting),
            pool.size - pool.free - pool.reclaimable,
        )
        self._device.add(device)
        self._host.add(host)
        ring = self._ring
        if len(ring) == KEPT:
            self._base = ring[0][1]
        ring.append((record, self._totals(s.now)))
        if self.listener is not None:
            self.listener.step(record, shape)

    def _totals(self, now: float) -> _Totals:
        counters, kv = self._s.counters, self._s.kv
        return (
            now,
            counters.prompt_tokens,
            kv.hit_tokens,
            kv.query_tokens,
            counters.generated_tokens,
            self._device.total,
        )

    def news(self, outputs: Sequence[Output]) -> None:
        """Pass on what happened to requests."""
        if self.listener is not None and outputs:
            self.listener.news(outputs)

    def close(self) -> None:
        """Tell the listener that nothing more will come."""
        if self.listener is not None:
            self.listener.close()

    def failed(self) -> None:
        """Note that a step failed, and with it every step in flight."""
        self._open.clear()
        self._failed += 1

    def observe(self, since: int, most: int) -> Observation:
        """Return all figures of this moment.

        Args:
            since: ticket; only later steps are told.
            most: steps told at most, the newest.
        """
        now = self._now()
        newest = []
        for record, _ in islice(reversed(self._ring), most):
            if record.ticket <= since:
                break
            newest.append(record)
        return Observation(
            now=now,
            stats=snapshot(self._s),
            tenants=self.tenants.read(),
            rates=self._rates(now),
            step_seconds=self._device.read(),
            host_seconds=self._host.read(),
            failed_steps=self._failed,
            admitted=self.tenants.admitted,
            steps=tuple(reversed(newest)),
        )

    def _rates(self, now: float) -> Rates:
        """Compare the totals now with those of `RATE_SECONDS` ago, or as far back as is remembered."""
        then = self._base
        for _, totals in reversed(self._ring):
            if totals[0] <= now - RATE_SECONDS:
                then = totals
                break
        # Nothing landed between the step before the window and the window's beginning.
        seconds = max(min(now - then[0], RATE_SECONDS), 1e-3)
        computed, found, looked_up, generated, device = (
            (new - old) / seconds for new, old in zip(self._totals(now)[1:], then[1:], strict=True)
        )
        return Rates(seconds, computed, found, looked_up, generated, min(device, 1.0))
