"""A journal of all that an engine was asked and decided, with the clock readings it did so by.

It is enough to fit step costs, to simulate the same arrivals, and to run the same decisions again and compare
them (`penstock.sim.replay`). One line of JSON per entry. It holds the token ids of prompts and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.executor import ExecutorSpec
from penstock.core.output import FinishReason
from penstock.core.plan import StepPlan, StepResult
from penstock.core.request import RequestSpec
from penstock.core.scheduler import Scheduler
from penstock.core.state import SchedulerState


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The first entry: what the engine was made from."""

    spec: ExecutorSpec
    schedule: ScheduleConfig
    cache: CacheConfig


class Submitted(msgspec.Struct, frozen=True, tag="submitted"):
    """A request was taken in."""

    now: float
    spec: RequestSpec


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """A live request was ended early."""

    now: float
    request_id: str
    reason: FinishReason
    detail: str


class Planned(msgspec.Struct, frozen=True, tag="planned"):
    """A step was decided."""

    now: float
    plan: StepPlan


class Landed(msgspec.Struct, frozen=True, tag="landed"):
    """A step's result was taken in."""

    now: float
    result: StepResult


class Abandoned(msgspec.Struct, frozen=True, tag="abandoned"):
    """A step failed, and every step in flight was undone."""

    now: float
    ticket: int
    why: str


Entry = Opened | Submitted | Cancelled | Planned | Landed | Abandoned
Sink = Callable[[bytes], object]
"""Takes one line of JSON, newline included, e.g. the ``write`` of a file opened in binary mode."""


def read_journal(lines: Iterable[bytes | str]) -> Iterator[Entry]:
    """Yield the entries of a journal.

    Raises:
        ValueError: a line is not an entry; the message numbers it.
    """
    decode = msgspec.json.Decoder(Entry).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield decode(line)
        except msgspec.DecodeError as error:
            raise ValueError(f"line {number} is not a journal entry: {error}") from None


class JournalledScheduler(Scheduler):
    """A scheduler that writes down what it is told and what it decides.

    Args:
        state: the books, fresh.
        schedule: the settings they were made from, for the first entry.
        cache: likewise.
        sink: receives the lines.
    """

    def __init__(
        self, state: SchedulerState, schedule: ScheduleConfig, cache: CacheConfig, sink: Sink
    ) -> None:
        super().__init__(state)
        self._sink = sink
        self._encode = msgspec.json.Encoder().encode
        self._note(Opened(state.spec, schedule, cache))

    def _note(self, entry: Entry) -> None:
        self._sink(self._encode(entry) + b"\n")

    def submit(self, spec: RequestSpec, now: float) -> None:
        """See `Scheduler.submit`; refused requests are left out."""
        super().submit(spec, now)
        self._note(Submitted(now, spec))

    def cancel(self, request_id: str, now: float, reason: FinishReason, detail: str) -> bool:
        """See `Scheduler.cancel`."""
        live = super().cancel(request_id, now, reason, detail)
        if live:
            self._note(Cancelled(now, request_id, reason, detail))
        return live

    def plan(self, now: float) -> StepPlan | None:
        """See `Scheduler.plan`."""
        plan = super().plan(now)
        if plan is not None:
            self._note(Planned(now, plan))
        return plan

    def land(self, result: StepResult, now: float) -> None:
        """See `Scheduler.land`."""
        super().land(result, now)
        self._note(Landed(now, result))

    def abandon(self, failed_ticket: int, why: str, now: float) -> None:
        """See `Scheduler.abandon`."""
        super().abandon(failed_ticket, why, now)
        self._note(Abandoned(now, failed_ticket, why))
