"""Steps and requests as Chrome trace events (chrome://tracing, Perfetto), of real and simulated engines.

Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU. Times are
microseconds of the engine's clock. A process of the trace is a replica; steps are slices of its first thread,
requests async spans (with waiting, prefill and decode nested in them), load and memory counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO, Protocol

import msgspec

from penstock.observe.milestones import Milestones

STEPS, COUNTERS = 0, 1
"""Threads of a replica."""
_encode = msgspec.json.Encoder().encode


class Shape(Protocol):
    """Summary of a step (`core.plan.PlanShape`), counts per step."""

    @property
    def tokens(self) -> int: ...  # noqa: D102
    @property
    def sequences(self) -> int: ...  # noqa: D102
    @property
    def decodes(self) -> int: ...  # noqa: D102
    @property
    def prefill_tokens(self) -> int: ...  # noqa: D102
    @property
    def kv_tokens(self) -> int: ...  # noqa: D102


def micros(seconds: float) -> float:
    """Return microseconds, to the nanosecond."""
    return round(seconds * 1e6, 3)


class ChromeFile:
    """Writes events as they come. Everything but `close` may raise OSError when the disk is full.

    The array form (without ``closing``) can be opened even if its end is missing, as after a crash.

    Args:
        file: open for binary writing; closed by `close`.
        whole: write the object form, which has room for other data at its end.
    """

    def __init__(self, file: BinaryIO, *, whole: bool = False) -> None:
        self._file = file
        self._whole = whole
        self.events = 0
        """Events written."""
        self.bytes = 0
        """Size of the file so far."""
        self._write(b'{"displayTimeUnit":"ms","traceEvents":[\n' if whole else b"[\n")

    def _write(self, data: bytes) -> None:
        self.bytes += len(data)
        self._file.write(data)

    def event(self, event: Mapping[str, Any]) -> None:
        """Write one event."""
        self._write((b",\n" if self.events else b"") + _encode(event))
        self.events += 1

    def name(self, replica: int, process: str) -> None:
        """Name a replica and its thread of steps."""
        for kind, text in (("process_name", process), ("thread_name", "steps")):
            place = {"pid": replica, "tid": STEPS, "ts": 0}
            self.event({"name": kind, "ph": "M", "args": {"name": text}} | place)

    def step(
        self, replica: int, ticket: int, start: float, seconds: float, shape: Shape, **more: Any
    ) -> None:
        """Write a step as a slice; ``more`` joins its arguments."""
        prefills = shape.sequences - shape.decodes
        arguments = {
            "ticket": ticket,
            "tokens": shape.tokens,
            "decodes": shape.decodes,
            "prefill_tokens": shape.prefill_tokens,
            "kv_tokens": shape.kv_tokens,
        }
        self.event(
            {
                "name": "mixed" if shape.decodes and prefills else "decode" if shape.decodes else "prefill",
                "cat": "step",
                "ph": "X",
                "ts": micros(start),
                "dur": micros(seconds),
                "pid": replica,
                "tid": STEPS,
                "args": arguments | more,
            }
        )

    def load(self, replica: int, at: float, running: int, waiting: int, blocks: int) -> None:
        """Write sequences running and waiting, and KV blocks in use, as counters."""
        counter = {"ph": "C", "ts": micros(at), "pid": replica, "tid": COUNTERS}
        self.event({"name": "requests", "args": {"running": running, "waiting": waiting}} | counter)
        self.event({"name": "KV in use", "args": {"blocks": blocks}} | counter)

    def instant(self, replica: int, request_id: str, name: str, at: float, **arguments: Any) -> None:
        """Write something that happened to a request at one moment."""
        event = {"name": name, "cat": "request", "ph": "n", "ts": micros(at), "id": request_id}
        self.event(event | {"pid": replica, "tid": STEPS, "args": arguments})

    def request(self, replica: int, request_id: str, line: Milestones, arguments: Mapping[str, Any]) -> None:
        """Write a request's life as async spans: the whole, and waiting, prefill and decode within it."""
        spans = [("request", line.arrival, line.finished)]
        if line.first_token:  # zero is no time to have had one: even the first step takes some
            spans.append(("waiting", line.arrival, line.first_scheduled))
            spans.append(("prefill", line.first_scheduled, line.first_token))
            spans.append(("decode", line.first_token, line.last_token))
        else:
            spans.append(("waiting", line.arrival, line.first_scheduled or line.finished))
        for name, begin, end in spans:
            event = {"name": name, "cat": "request", "id": request_id, "pid": replica, "tid": STEPS}
            extra = {"args": arguments} if name == "request" else {}
            self.event(event | {"ph": "b", "ts": micros(begin)} | extra)
            self.event(event | {"ph": "e", "ts": micros(end)})

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        self._file.flush()

    def close(self, **other: Any) -> None:
        """Finish the file; with the object form, ``other`` is kept beside the events."""
        self._write(b'\n],"otherData":' + _encode(other) + b"}\n" if self._whole else b"\n]\n")
        self._file.close()
