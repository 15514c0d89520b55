"""Timeouts of a request: how long it may wait for its first token and for its last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.server.errors import APIError

Stop = Callable[[str, APIError], None]
"""Ends a request: the reason for the engine, and what the client is told."""


class Timers:
    """Calls ``stop`` once when a time is up; belongs to the running event loop.

    Args:
        stop: ends the request; must not block or raise.
        total: seconds until the last token; None sets no bound.
        queue: seconds until the first token; None sets no bound.
    """

    def __init__(self, stop: Stop, total: float | None, queue: float | None) -> None:
        loop = asyncio.get_running_loop()
        self.shortest = min((each for each in (total, queue) if each is not None), default=None)
        """Seconds within which something must have happened."""
        self._stop = stop
        self._total = None if total is None else loop.call_later(total, self._late, total)
        self._queue = None if queue is None else loop.call_later(queue, self._waited, queue)

    def begun(self) -> None:
        """Note the first token."""
        if self._queue is not None:
            self._queue.cancel()
            self._queue = None

    def cancel(self) -> None:
        """Forget the times; idempotent."""
        self.begun()
        if self._total is not None:
            self._total.cancel()
            self._total = None

    def late(self) -> APIError:
        """Return what a client is told whose request was not even admitted in time."""
        return _timeout(f"The request was not admitted within {self.shortest:g} s.", "queue_timeout")

    def _late(self, seconds: float) -> None:
        error = _timeout(
            f"The request's time of {seconds:g} s passed before its last token.", "deadline_exceeded"
        )
        self._stop("deadline", error)

    def _waited(self, seconds: float) -> None:
        error = _timeout(f"The request waited {seconds:g} s without its first token.", "queue_timeout")
        self._stop("deadline", error)


def _timeout(text: str, code: str) -> APIError:
    return APIError(504, text, code=code)
