"""The step trace of a running engine: what it did, step by step, as a file that Perfetto opens."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from penstock.core.errors import ConfigError
from penstock.core.output import Output
from penstock.core.plan import PlanShape
from penstock.core.policy import SequenceView
from penstock.core.state import SchedulerState
from penstock.engine.observation import StepRecord
from penstock.observe.chrome import ChromeFile

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
"""What happened longer ago is in the file."""


class StepTrace:
    """Writes steps, requests and load to a file of bounded size; implements `steps.StepListener`.

    A file that is full, or was there before, is moved to the same name with ``.1``, in place of what had that
    name. A disk that fails ends the trace with a line in the log, and nothing else.

    Args:
        path: file to write.
        most: bytes of one file, about; there are two at most.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: str, most: int) -> None:
        self._path = Path(path)
        self._most = most
        self._file: ChromeFile | None = None
        self._who: dict[str, tuple[str, int]] = {}
        """Tenant and prompt length of every live request."""
        self._flushed = 0.0
        try:
            self._open()
        except OSError as error:
            raise ConfigError("observe.trace_steps", f"cannot write {path}: {error.strerror}") from None

    def bind(self, state: SchedulerState) -> None:
        """Follow the requests of an engine from now on."""
        state.watch.arrive.append(self._arrive)
        state.watch.preempt.append(self._preempted)

    def _open(self) -> None:
        if self._path.is_file():  # and not a device or a pipe
            os.replace(self._path, self._path.with_name(self._path.name + ".1"))
        self._file = ChromeFile(self._path.open("wb"))
        self._file.name(0, f"engine {os.getpid()}")
        # A mark of both clocks, by which a trace can be laid beside logs.
        self._file.instant(0, "clock", "clock", time.monotonic(), unix_seconds=time.time())

    def _arrive(self, seq: SequenceView, now: float) -> None:
        self._who[seq.id] = (seq.spec.tenant, seq.prompt_length)

    def _preempted(self, seq: SequenceView, now: float) -> None:
        if self._file is not None:
            with _Guard(self):
                self._file.instant(0, seq.id, "preempted", now)

    def step(self, record: StepRecord, shape: PlanShape) -> None:
        """Write a step that landed."""
        file = self._file
        if file is None:
            return
        with _Guard(self):
            end = record.start + record.seconds
            more = {"device_ms": record.device * 1e3, "host_ms": record.host * 1e3}
            file.step(0, record.ticket, record.start, record.seconds, shape, **more)
            file.load(0, end, record.running, record.waiting, record.blocks)
            if end - self._flushed > FLUSH_SECONDS:
                file.flush()
                self._flushed = end
            if file.bytes >= self._most:
                file.close()
                self._open()

    def news(self, outputs: Sequence[Output]) -> None:
        """Write the requests that ended."""
        for output in outputs:
            finish = output.finish
            if finish is None:
                continue
            tenant, prompt = self._who.pop(output.request_id, ("", 0))
            if self._file is None:
                continue
            arguments = {
                "tenant": tenant,
                "prompt": prompt,
                "cached": output.cached_tokens,
                "preemptions": finish.preemptions,
                "reason": finish.reason.value,
                "detail": finish.detail,
            }
            with _Guard(self):
                self._file.request(0, output.request_id, finish.timeline, arguments)

    def give_up(self, error: OSError) -> None:
        """End the trace since the disk does not take it."""
        log.error("the step trace ends here: cannot write %s: %s", self._path, error.strerror or error)
        self._file = None

    def close(self) -> None:
        """Finish the file; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            with _Guard(self):
                file.close()


class _Guard:
    """Turns an OSError into the end of the trace: a full disk must not take the engine along."""

    __slots__ = ("_trace",)

    def __init__(self, trace: StepTrace) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, OSError):
            self._trace.give_up(error)
            return True
        return False
