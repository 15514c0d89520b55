"""A run as Chrome trace events; the format is `penstock.observe.chrome`'s, times are virtual."""

from __future__ import annotations

from pathlib import Path

from penstock.core.errors import ConfigError
from penstock.core.output import Output
from penstock.observe.chrome import ChromeFile
from penstock.sim.executor import StepSeen
from penstock.sim.replica import Replica
from penstock.workload.request import TraceRequest

EVENTS = 2_000_000
"""Events written at most, about 300 MB; what comes later is left out and counted."""
PER_STEP, PER_REQUEST = 3, 8
"""Events that a step makes, and a request at most."""


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
            self._file = ChromeFile(path.open("wb"), whole=True)
        except OSError as error:
            raise ConfigError("--chrome-trace", f"cannot write {path}: {error.strerror}") from None
        self._most = events
        self._where: dict[str, int] = {}
        self.left_out = 0
        for number in range(replicas):
            self._file.name(number, f"replica {number} (simulated)")

    @property
    def written(self) -> int:
        """Events written."""
        return self._file.events

    def _room(self, events: int) -> bool:
        """Whether this many more may be written; counts them as left out if not."""
        if self._file.events + events <= self._most:
            return True
        self.left_out += events
        return False

    def step(self, replica: Replica, seen: StepSeen) -> None:
        """Note a step, and the load at its planning."""
        plan, number, view = seen.plan, replica.number, replica.engine
        for init in plan.admits:
            self._where.setdefault(init.request_id, number)
        if self._room(PER_STEP):
            self._file.step(number, plan.ticket, seen.start, seen.end - seen.start, plan.shape)
            used = view.blocks_total - view.blocks_available
            self._file.load(number, seen.planned, view.running, view.waiting, used)

    def finished(self, request: TraceRequest, now: float, ok: bool, output: Output | None) -> None:
        """Note a request's life: waiting, prefill and decode within it."""
        finish = output.finish if output is not None else None
        number = self._where.pop(request.id, 0)
        if not self._room(PER_REQUEST if finish is not None else 1):
            return
        if finish is None:  # refused at the door
            self._file.instant(number, request.id, "refused", now, tenant=request.tenant)
            return
        arguments = {
            "tenant": request.tenant,
            "prompt": request.prompt_tokens,
            "output": request.output_tokens,
            "cached": output.cached_tokens if output is not None else 0,
            "preemptions": finish.preemptions,
            "ok": ok,
            "reason": finish.reason.value,
        }
        self._file.request(number, request.id, finish.timeline, arguments)

    def close(self) -> None:
        """Finish the file."""
        self._file.close(clock="virtual", label="SIMULATED", events_left_out=self.left_out)
