"""A run as Chrome trace events (chrome://tracing, Perfetto): steps per replica, requests as async spans.

Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (JSON object form).
Times are virtual microseconds.
"""

from __future__ import annotations

from io import BufferedWriter
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.errors import ConfigError
from penstock.core.output import Output
from penstock.sim.executor import StepSeen
from penstock.sim.replica import Replica
from penstock.workload.request import TraceRequest

EVENTS = 2_000_000
"""Events written at most, about 300 MB; what comes later is left out and counted."""
STEPS, COUNTERS = 0, 1
_encode = msgspec.json.Encoder().encode


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)


class ChromeTrace:
    """Writes events as they come; implements the observer's side of `penstock.sim.simulation.Collecting`.

    Args:
        path: file to write.
        replicas: how many there are.
        events: most events written.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, replicas: int, events: int = EVENTS) -> None:
        try:
            self._file: BufferedWriter = path.open("wb")
        except OSError as error:
            raise ConfigError("--chrome-trace", f"cannot write {path}: {error.strerror}") from None
        self._room = events
        self._where: dict[str, int] = {}
        self.written = self.left_out = 0
        self._file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
        for number in range(replicas):
            self._name("process_name", number, STEPS, f"replica {number} (simulated)")
            self._name("thread_name", number, STEPS, "steps")

    def _name(self, kind: str, replica: int, thread: int, name: str) -> None:
        self._event({"name": kind, "ph": "M", "pid": replica, "tid": thread, "ts": 0, "args": {"name": name}})

    def _event(self, event: dict[str, Any]) -> None:
        if self.written >= self._room:
            self.left_out += 1
            return
        self._file.write((b",\n" if self.written else b"") + _encode(event))
        self.written += 1

    def step(self, replica: Replica, seen: StepSeen) -> None:
        """Note a step, and the load at its planning."""
        plan, number = seen.plan, replica.number
        for init in plan.admits:
            self._where.setdefault(init.request_id, number)
        shape = plan.shape
        prefills = shape.sequences - shape.decodes
        name = "mixed" if shape.decodes and prefills else "decode" if shape.decodes else "prefill"
        arguments = {
            "ticket": plan.ticket,
            "tokens": shape.tokens,
            "decodes": shape.decodes,
            "prefill_tokens": shape.prefill_tokens,
            "kv_tokens": shape.kv_tokens,
        }
        place = {"pid": number, "tid": STEPS}
        span = {"name": name, "cat": "step", "ph": "X", "ts": _us(seen.start)}
        self._event(span | {"dur": _us(seen.end - seen.start)} | place | {"args": arguments})
        view = replica.engine
        load = {"running": view.running, "waiting": view.waiting}
        counter = {"ph": "C", "ts": _us(seen.planned), "pid": number, "tid": COUNTERS}
        self._event({"name": "requests", "args": load} | counter)
        blocks = {"blocks": view.blocks_total - view.blocks_available}
        self._event({"name": "KV in use", "args": blocks} | counter)

    def finished(self, request: TraceRequest, now: float, ok: bool, output: Output | None) -> None:
        """Note a request's life: waiting, prefill and decode within it."""
        finish = output.finish if output is not None else None
        place = {"pid": self._where.pop(request.id, 0), "tid": STEPS, "id": request.id}
        if finish is None:  # refused at the door
            instant = {"name": "refused", "cat": "request", "ph": "n", "ts": _us(now)}
            self._event(instant | place | {"args": {"tenant": request.tenant}})
            return
        line = finish.timeline
        arguments = {
            "tenant": request.tenant,
            "prompt": request.prompt_tokens,
            "output": request.output_tokens,
            "cached": output.cached_tokens if output is not None else 0,
            "preemptions": finish.preemptions,
            "ok": ok,
            "reason": finish.reason.value,
        }
        spans = [("request", line.arrival, line.finished)]
        if line.first_token:  # zero is no time to have had one: even the first step takes some
            spans.append(("waiting", line.arrival, line.first_scheduled))
            spans.append(("prefill", line.first_scheduled, line.first_token))
            spans.append(("decode", line.first_token, line.last_token))
        else:
            spans.append(("waiting", line.arrival, line.first_scheduled or line.finished))
        for name, begin, end in spans:
            event = {"name": name, "cat": "request"} | place
            extra = {"args": arguments} if name == "request" else {}
            self._event(event | {"ph": "b", "ts": _us(begin)} | extra)
            self._event(event | {"ph": "e", "ts": _us(end)})

    def close(self) -> None:
        """Finish the file."""
        other = _encode({"clock": "virtual", "label": "SIMULATED", "events_left_out": self.left_out})
        self._file.write(b'\n],"otherData":' + other + b"}\n")
        self._file.close()
