"""`TrafficRecorder`: follows requests through the front and writes what may be kept of them, off the event
loop."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue

from penstock.core.errors import ConfigError
from penstock.core.output import Finish, FinishReason, Output
from penstock.core.request import RequestSpec
from penstock.workload.recorder import Traffic, traffic_line

log = logging.getLogger(__name__)

BACKLOG = 10_000
"""Ended requests that may wait for the disk; more are left out and counted."""


class _Open:
    """A request under way."""

    __slots__ = ("arrival", "cached", "ids", "spec")

    def __init__(self, spec: RequestSpec) -> None:
        self.spec, self.arrival = spec, time.time()
        self.ids: list[int] = []
        self.cached = 0


class TrafficRecorder:
    """Appends one line per ended request to a file (`penstock.workload.recorder`).

    Hashing and writing happen in a thread; its methods never block. When the disk is full, or writing fails
    otherwise, that is logged once and recording stops; serving goes on.

    Args:
        path: file to append to; made if missing.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        try:
            self._file = Path(path).open("ab")  # noqa: SIM115 - closed by the thread
        except OSError as error:
            raise ConfigError("server.record_traffic", f"cannot write {path}: {error.strerror}") from None
        self.path = path
        self.dropped = 0
        """Requests left out because the disk did not keep up."""
        self.stopped = False
        """Writing failed; nothing more is recorded."""
        self._salt = secrets.token_bytes(32)
        self._open: dict[str, _Open] = {}
        self._ended: SimpleQueue[Traffic | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="penstock-traffic", daemon=True)
        self._thread.start()

    def opened(self, specs: Iterable[RequestSpec]) -> None:
        """Begin to follow sequences that are about to be admitted."""
        if not self.stopped:
            self._open.update((spec.id, _Open(spec)) for spec in specs)

    def refused(self, ids: Iterable[str]) -> None:
        """Forget sequences that were not admitted."""
        for request_id in ids:
            self._open.pop(request_id, None)

    def took(self, output: Output) -> None:
        """Note news of a sequence."""
        one = self._open.get(output.request_id)
        if one is None:
            return
        one.ids.extend(output.tokens)
        one.cached = max(one.cached, output.cached_tokens)
        if output.finish is not None:
            self._end(output.request_id, output.finish)

    def abandoned(self, ids: Iterable[str], detail: str) -> None:
        """Note that nobody waits for these sequences any more."""
        for request_id in ids:
            self._end(request_id, Finish(FinishReason.ABORT, detail))

    def _end(self, request_id: str, finish: Finish) -> None:
        one = self._open.pop(request_id, None)
        if one is None or self.stopped:
            return
        if self._ended.qsize() >= BACKLOG:
            self.dropped += 1
            return
        self._ended.put(Traffic(one.spec, one.arrival, one.ids, finish, one.cached))

    def close(self) -> None:
        """Write what has ended and close the file; idempotent."""
        if self._thread.is_alive():
            self._ended.put(None)
            self._thread.join(timeout=5.0)
        if self.dropped:
            log.warning("%d requests are missing from %s: the disk did not keep up", self.dropped, self.path)
            self.dropped = 0

    def _write(self) -> None:
        number = 0
        while (traffic := self._ended.get()) is not None:
            if self.stopped:
                continue
            try:
                self._file.write(traffic_line(traffic, number, self._salt))
                if self._ended.empty():
                    self._file.flush()
            except Exception as error:  # whatever it is, it must not reach those who are served
                self.stopped = True
                log.error("recording of traffic to %s stops: %s", self.path, error)
            number += 1
        try:
            self._file.close()
        except OSError as error:
            if not self.stopped:
                log.error("the end of the traffic in %s is lost: %s", self.path, error)
