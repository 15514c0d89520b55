"""A journal of all that an engine was asked and decided, with the clock readings it did so by.

It is enough to fit step costs, to simulate the same arrivals, and to run the same decisions again and compare
them (`penstock.sim.replay`). One line of JSON per entry. It holds the token ids of prompts and outputs.
"""

from __future__ import annotations

import contextlib
import logging
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


log = logging.getLogger(__name__)

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


class JournalFile:
    """A file that takes the lines of a journal. When writing fails that is logged once, and it takes no more:
    a journal that ends early is whole up to there, and serving goes on.

    Args:
        path: the file; replaced if it exists.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115 - open as long as the engine lives
        self.stopped = False

    def __call__(self, line: bytes) -> None:
        """Take a line."""
        if self.stopped:
            return
        try:
            self._file.write(line)
        except OSError as error:
            self.stopped = True
            log.error("the journal %s ends here: %s", self.path, error)
            with contextlib.suppress(OSError):  # closing flushes, which fails again
                self._file.close()

    def flush(self) -> None:
        """Bring what was taken to the disk."""
        if not self.stopped:
            try:
                self._file.flush()
            except OSError as error:
                self.stopped = True
                log.error("the journal %s ends here: %s", self.path, error)


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

    def flush(self) -> None:
        """Bring what was noted to the disk, if the sink is a `JournalFile`."""
        if isinstance(self._sink, JournalFile):
            self._sink.flush()

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
