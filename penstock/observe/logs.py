"""Structured logs on the standard library: a line per event, as JSON or for people, never with prompts."""

from __future__ import annotations

import json
import logging
import sys
from typing import IO, Literal

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
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
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


def setup_logging(
    level: str = "info", style: Literal["human", "json"] = "human", stream: IO[str] | None = None
) -> None:
    """Send all logs of the process to one stream (standard error by default); safe to call again.

    Args:
        level: lowest level that is written: debug, info, warning or error.
        style: for people, or one JSON object per line for a log collector.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter() if style == "json" else HumanFormatter())
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
