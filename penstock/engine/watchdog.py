"""Notices an engine that lives but does not move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from penstock.engine.pulse import Pulse


class Watchdog:
    """Watches a pulse while there is work.

    Steps are watched, so the limit must exceed the longest honest step. Building an engine is not; it must be
    over within ``server.start_timeout`` (`Incarnation.boot`).

    Args:
        timeout: seconds without progress that are taken for a hang; 0 never barks.
        is_busy: whether anything waits for the engine.
    """

    def __init__(self, timeout: float, is_busy: Callable[[], bool]) -> None:
        self.timeout = timeout
        self._is_busy = is_busy

    async def stuck(self, pulse: Pulse) -> str:
        """Return once the engine is stuck, saying for how long and where; else never."""
        if not self.timeout:
            await asyncio.Event().wait()
        interval = min(1.0, self.timeout / 4)
        quiet, turns, then = 0.0, -1, time.monotonic()
        while quiet < self.timeout:
            await asyncio.sleep(interval)
            now = time.monotonic()
            # Time for which this process was held up itself (stopped, suspended) says nothing of the engine.
            passed, then = min(now - then, 2 * interval), now
            beat = pulse.read()
            if beat.turns != turns or not self._is_busy():
                quiet, turns = 0.0, beat.turns
            else:
                quiet += passed
        return f"made no progress for {quiet:.3g} s {beat.where()}"
