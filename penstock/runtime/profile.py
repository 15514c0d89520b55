"""A profile of the engine's steps by torch's profiler, begun and ended from outside.

What is recorded is the thread that runs the steps and what it starts on the device. Recording takes memory
with every operation, so it ends by itself after a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)


class Profiler:
    """Records steps and writes each record as a trace for Perfetto or chrome://tracing.

    All calls belong to the thread that runs the steps. Writing holds it up, seconds for a long record.

    Args:
        folder: where traces are written; made if it is not there.
        seconds: longest record.
        now: source of monotonic seconds.
    """

    def __init__(self, folder: str, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._seconds, self._now = Path(folder), seconds, now
        self._running: Any = None
        self._until = 0.0

    def start(self) -> bool:
        """Begin a record; False if one is being made."""
        if self._running is not None:
            return False
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        self._running = torch.profiler.profile(activities=kinds, record_shapes=True)
        self._running.start()
        self._until = self._now() + self._seconds
        return True

    def stop(self) -> str:
        """End the record and write it.

        Returns:
            The file's path; empty if no record was being made, or if it could not be written.
        """
        if self._running is None:
            return ""
        done, self._running = self._running, None
        done.stop()
        name = f"steps-{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 10**6:06}.json.gz"
        path = self._folder / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            done.export_chrome_trace(str(path))
        except (OSError, RuntimeError) as error:
            log.error("the profile cannot be written: %s", error)
            return ""
        log.info("profile written to %s", path)
        return str(path)

    def step(self) -> None:
        """Take note of a step; ends a record that has gone on for too long."""
        if self._running is not None and self._now() > self._until:
            log.warning("a profile ended by itself after %g s", self._seconds)
            self.stop()
