"""A journal run again: the simulator's loop, fed the recorded times, must decide the recorded steps.

Arrivals, the times at which the engine looked at its inbox and the times at which steps landed come from the
journal; every decision is made anew by the scheduler and compared, field by field.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from penstock.core.errors import PenstockError
from penstock.core.executor import ExecutorSpec
from penstock.core.output import Output
from penstock.core.plan import StepPlan, StepResult
from penstock.core.request import RequestSpec
from penstock.engine.core import build_engine
from penstock.engine.journal import Abandoned, Cancelled, Entry, Landed, Opened, Planned, Submitted
from penstock.sim.events import EventLoop
from penstock.sim.replica import Replica


class Difference(msgspec.Struct, frozen=True):
    """A step that was decided otherwise than recorded; nothing after it can be compared."""

    ticket: int
    field: str
    recorded: object
    decided: object


class Replayed(msgspec.Struct, frozen=True):
    """Outcome of a replay."""

    steps: int
    """Steps decided as recorded."""
    requests: int
    difference: Difference | None


class _Recorded:
    """Implements `penstock.sim.replica.TimedExecutor` with the recorded results."""

    def __init__(self, spec: ExecutorSpec, entries: Sequence[Entry]) -> None:
        self._spec = spec
        self._plans = deque(e for e in entries if isinstance(e, Planned))
        self._landings = {e.result.ticket: e for e in entries if isinstance(e, Landed)}
        self.same = 0
        self.difference: Difference | None = None

    def spec(self) -> ExecutorSpec:
        return self._spec

    def submit(self, plan: StepPlan) -> int:
        recorded = self._plans.popleft() if self._plans else None
        if recorded is None:
            raise _Diverged(Difference(plan.ticket, "plan", None, plan))
        for field in plan.__struct_fields__:
            was, now = getattr(recorded.plan, field), getattr(plan, field)
            if was != now:
                raise _Diverged(Difference(plan.ticket, field, was, now))
        self.same += 1
        return plan.ticket

    def ready(self, now: float, outputs: int) -> float:
        """The engine plans next when it did so in the recording."""
        return self._plans[0].now if self._plans else now

    def due(self, ticket: int) -> float:
        landed = self._landings.get(ticket)
        if landed is None:
            raise _Ended
        return landed.now

    def collect(self, ticket: int) -> StepResult:
        return self._landings.pop(ticket).result

    def close(self) -> None:
        pass


class _Diverged(Exception):
    def __init__(self, difference: Difference) -> None:
        self.difference = difference


class _Ended(Exception):
    """The recording stops while this step was in flight."""


def replay(entries: Iterable[Entry]) -> Replayed:
    """Run a journal again.

    Raises:
        ValueError: it does not begin with what the engine was made from, or a step of it failed (a fault's
            effects on a pipeline are not replayed).
    """
    known = list(entries)
    if not known or not isinstance(known[0], Opened):
        raise ValueError("a journal begins with what its engine was made from")
    if any(isinstance(e, Abandoned) for e in known):
        raise ValueError("a step of this journal failed; only runs without faults are replayed")
    opened = known[0]
    loop = EventLoop()
    executor = _Recorded(opened.spec, known)
    core = build_engine(executor, opened.schedule, opened.cache, loop.clock)
    replica = Replica(0, core, executor, loop, _ignore, _refused, executor.ready)
    requests = 0
    for entry in known:
        if isinstance(entry, Submitted):
            requests += 1
            spec = msgspec.structs.replace(entry.spec, arrival=entry.spec.arrival or entry.now)
            loop.at(entry.now, lambda spec=spec: replica.submit(spec))  # type: ignore[misc]
        elif isinstance(entry, Cancelled):
            loop.at(entry.now, lambda e=entry: replica.cancel(e.request_id, e.detail, e.reason))  # type: ignore[misc]
    difference = None
    try:
        loop.run()
    except _Diverged as diverged:
        difference = diverged.difference
    except _Ended:
        pass
    return Replayed(executor.same, requests, difference)


def _ignore(replica: Replica, outputs: list[Output]) -> None:
    pass


def _refused(spec: RequestSpec, error: PenstockError) -> None:
    raise AssertionError(f"{spec.id} was taken in once and is refused now: {error}")
