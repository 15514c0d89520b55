"""An executor that notes every step of another: what was asked, what came back and how long it took.

A note is one line of JSON. Notes serve cost models (shape, seconds) and `replay.ReplayExecutor`. They hold
the token ids of prompts and outputs."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.core.errors import StepFault
from penstock.core.executor import Executor, ExecutorSpec
from penstock.core.plan import StepPlan, StepResult


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step. The first note of a recording holds the executor's spec and nothing else."""

    spec: ExecutorSpec | None = None
    plan: StepPlan | None = None
    result: StepResult | None = None
    """Its ``seconds`` are what the executor reported."""
    fault: str | None = None
    """Why the step failed as a whole, in place of a result.

    A plan with neither was never collected: after a failed step the engine drops those behind it.
    """


Sink = Callable[[bytes], object]
"""Takes one line of JSON, newline included, e.g. the ``write`` of a file opened in binary mode."""


class RecordingExecutor:
    """Passes everything on to ``inner`` and a note of each collected step to ``sink``."""

    def __init__(self, inner: Executor, sink: Sink) -> None:
        self._inner = inner
        self._sink = sink
        self._encode = msgspec.json.Encoder().encode
        self._plans: dict[int, StepPlan] = {}
        self._write(Note(spec=inner.spec()))

    def _write(self, note: Note) -> None:
        self._sink(self._encode(note) + b"\n")

    def spec(self) -> ExecutorSpec:
        """See `Executor.spec`."""
        return self._inner.spec()

    def submit(self, plan: StepPlan) -> int:
        """See `Executor.submit`."""
        ticket = self._inner.submit(plan)
        self._plans[ticket] = plan
        return ticket

    def collect(self, ticket: int) -> StepResult:
        """See `Executor.collect`."""
        for passed in [t for t in self._plans if t < ticket]:
            self._write(Note(plan=self._plans.pop(passed)))
        plan = self._plans.pop(ticket)
        try:
            result = self._inner.collect(ticket)
        except StepFault as fault:
            self._write(Note(plan=plan, fault=str(fault)))
            raise
        self._write(Note(plan=plan, result=result))
        return result

    def close(self) -> None:
        """See `Executor.close`."""
        for plan in self._plans.values():
            self._write(Note(plan=plan))
        self._plans.clear()
        self._inner.close()
