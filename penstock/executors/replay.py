"""An executor that answers from a recording, and objects when it is asked for anything else than was
recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from penstock.core.errors import PenstockError, StepFault
from penstock.core.executor import ExecutorSpec
from penstock.core.plan import StepPlan, StepResult
from penstock.executors.recording import Note


class Diverged(PenstockError):
    """The plan submitted is not the one recorded; the text shows the first difference."""


class ReplayExecutor:
    """Gives the recorded result of each step if the plan is the recorded one.

    Args:
        lines: the notes that `RecordingExecutor` wrote, in order.

    Raises:
        ValueError: the notes do not start with the executor's spec.
    """

    def __init__(self, lines: Iterable[bytes | str]) -> None:
        decode = msgspec.json.Decoder(Note).decode
        notes = deque(decode(line) for line in lines if line.strip())
        first = notes.popleft().spec if notes else None
        if first is None:
            raise ValueError("a recording starts with a note of the executor's spec")
        self._spec = first
        self._notes = {note.plan.ticket: note for note in notes if note.plan is not None}

    @property
    def left(self) -> int:
        """Recorded steps whose results have not been asked for, nor those of later ones."""
        return len(self._notes)

    def spec(self) -> ExecutorSpec:
        """Return the recorded executor's spec."""
        return self._spec

    def submit(self, plan: StepPlan) -> int:
        """Compare a plan with the recorded one of the same ticket.

        Raises:
            Diverged: they differ, or none was recorded.
        """
        note = self._notes.get(plan.ticket)
        if note is None or note.plan is None:
            raise Diverged(f"step {plan.ticket} is not in the recording")
        for field in plan.__struct_fields__:
            recorded, asked = getattr(note.plan, field), getattr(plan, field)
            if recorded != asked:
                raise Diverged(f"step {plan.ticket}, {field}: recorded {recorded}, asked for {asked}")
        return plan.ticket

    def collect(self, ticket: int) -> StepResult:
        """Return the recorded result.

        Raises:
            StepFault: as recorded.
        """
        for passed in [t for t in self._notes if t < ticket]:
            del self._notes[passed]
        note = self._notes.pop(ticket)
        if note.result is None:
            raise StepFault(note.fault or "recorded without a result")
        return note.result

    def close(self) -> None:
        """Nothing to release."""
