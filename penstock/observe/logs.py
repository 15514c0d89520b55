"""Structured logs on the standard library: a line per event, as JSON or for people, never with prompts."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from queue import SimpleQueue
from typing import IO, Literal

MOST_WAITING = 10_000
"""Lines that may wait for a slow sink before further ones are dropped."""
FLUSH_SECONDS = 1.0
"""How long the end of the process waits for lines that are still to be written."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def extras(record: logging.LogRecord) -> dict[str, object]:
    """Return what the caller passed as ``extra=``, which is the structured part of the line."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JSONFormatter(logging.Formatter):
    """One JSON object per line: time (UTC seconds), level, logger, message, and the extras."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception's text goes to the field ``exception``."""
        line: dict[str, object] = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extras(record),
        }
        if record.exc_info or record.exc_text:
            line["exception"] = record.exc_text or self.formatException(record.exc_info or (None, None, None))
        return json.dumps(line, default=str, ensure_ascii=False)


class HumanFormatter(logging.Formatter):
    """``12:30:01 INFO server: message  key=value`` with extras at the end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, its extras behind the message and an exception below."""
        plain = logging.makeLogRecord(vars(record))
        tail = " ".join(f"{key}={value}" for key, value in extras(record).items())
        plain.msg, plain.args = record.getMessage() + (f"  {tail}" if tail else ""), ()
        plain.name = record.name.removeprefix("penstock.")
        return super().format(plain)


class SafeHandler(logging.StreamHandler[IO[str]]):
    """Writes at once; a sink that fails (full disk, closed pipe) costs its lines and nothing else."""

    lost = 0
    """Lines that could not be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Count it: telling on standard error, as logging does, would meet the same full disk."""
        self.lost += 1

    def flush(self) -> None:
        """Flush, if the sink lets us: `emit` and the end of the process call it."""
        try:
            super().flush()
        except (OSError, ValueError):
            self.lost += 1


class BackgroundHandler(logging.Handler):
    """Lets a thread write, so that a sink that hangs (a pipe that nobody reads) holds up no request.

    Args:
        sink: formats and writes.
        most: lines that may wait; further ones are dropped, and counted in a line of their own.
    """

    def __init__(self, sink: SafeHandler, most: int = MOST_WAITING) -> None:
        super().__init__()
        self._sink = sink
        self._most = most
        # Unlike Queue it may be put to from a finalizer that interrupts another put.
        self._waiting: SimpleQueue[logging.LogRecord] = SimpleQueue()
        self._dropped = 0
        self._taken = self._written = 0
        threading.Thread(target=self._write, name="penstock-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line; never blocks."""
        if self._waiting.qsize() >= self._most:
            self._dropped += 1
            return
        # What the caller passed may change before it is written, and must not be kept alive.
        record.msg, record.args = record.getMessage(), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
        self._taken += 1  # one thread at a time comes here: the handler's lock is held
        self._waiting.put(record)

    def flush(self) -> None:
        """Wait for what is queued, but not for ever."""
        until = time.monotonic() + FLUSH_SECONDS
        while self._written < self._taken and time.monotonic() < until:
            time.sleep(0.002)

    def _write(self) -> None:
        while True:
            record = self._waiting.get()
            self._sink.handle(record)
            dropped, self._dropped = self._dropped, 0
            if dropped:
                text = f"{dropped} log lines were dropped: the log was not written as fast as it came"
                self._sink.handle(
                    logging.makeLogRecord(
                        {"name": __name__, "levelno": 30, "levelname": "WARNING", "msg": text}
                    )
                )
            self._written += 1


def setup_logging(
    level: str = "info",
    style: Literal["text", "json"] = "text",
    stream: IO[str] | None = None,
    *,
    background: bool = False,
) -> None:
    """Send all logs of the process to one stream (standard error by default); safe to call again.

    Args:
        level: lowest level that is written: debug, info, warning or error.
        style: for people, or one JSON object per line for a log collector.
        stream: where to.
        background: let a thread write, so that no caller ever waits for the stream.
    """
    sink = SafeHandler(stream or sys.stderr)
    sink.setFormatter(JSONFormatter() if style == "json" else HumanFormatter())
    handler: logging.Handler = BackgroundHandler(sink) if background else sink
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Noise of libraries at info: one line per HTTP request of a client or per connection.
    for name in ("httpx", "httpcore", "asyncio", "uvicorn.access", "urllib3", "filelock"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        # Its comings and goings are told by the server's own lines.
        logging.getLogger(name).setLevel(root.level if root.level < logging.INFO else logging.WARNING)
