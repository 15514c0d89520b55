"""Step times learned on the job, where no cost model is given."""

from __future__ import annotations

from penstock.core.plan import PlanShape
from penstock.core.policy import EngineView, SequenceView, Watcher

FORGET = 0.98
"""What a step still weighs one step later: some fifty steps count."""
ENOUGH = 8
"""Steps to see before predicting anything."""


class Pace(Watcher):
    """A line through the rows and seconds of the engine's recent steps; implements `StepCost`.

    What the decodes' contexts cost is in the intercept, which follows them slowly; recomputed tokens are not
    seen. A calibrated model knows better: prefer one.
    """

    def __init__(self) -> None:
        self._view: EngineView | None = None
        self._asked = self._landed = self._before = 0.0
        self._rows = self._seen = 0
        self._sums = [0.0] * 5
        self._line = (0.0, 0.0)

    def bind(self, view: EngineView) -> None:
        """Remember whose steps they are."""
        self._view = view

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Count the rows of a step that lands."""
        assert self._view is not None
        self._landed = self._view.now
        self._rows += prefill if prefill else decode

    def tick(self, now: float) -> None:
        """Take in the step that landed last; to be called before each step, once."""
        if self._rows:
            seconds = self._landed - max(self._before, self._asked)
            if seconds > 0:
                self._learn(float(self._rows), seconds)
            self._before, self._rows = self._landed, 0
        self._asked = now

    def _learn(self, x: float, y: float) -> None:
        self._seen += 1
        for i, value in enumerate((1.0, x, y, x * x, x * y)):
            self._sums[i] = FORGET * self._sums[i] + value
        n, sx, sy, sxx, sxy = self._sums
        spread = sxx - sx * sx / n
        slope = max(0.0, (sxy - sx * sy / n) / spread) if spread > 1e-9 * sxx else 0.0
        self._line = (max(0.0, (sy - slope * sx) / n), slope)

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of so many rows takes; 0 until enough were seen."""
        if self._seen < ENOUGH:
            return 0.0
        return self._line[0] + self._line[1] * shape.tokens
