"""Where a run stands: the stage, how much of it is done by steps or by time, and the learning rate there."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from penstock.zoo.recipes import Recipe, Stage

_PAUSE = 6.0
"""A step that takes this many times the usual was interrupted; the excess is not time spent."""


@dataclass(slots=True)
class Progress:
    """The state of a run's schedule, as it stands in a checkpoint.

    A stage ends when its steps are taken or its share of the minutes is spent, whichever comes first, and its
    learning rate follows the same measure: so a run that is given less time than it wants still decays to the
    floor of every stage. Time is the sum over steps; a suspended process loses none.

    Attributes:
        step: steps taken over all stages.
        stage: number of the present stage.
        taken: steps taken in it.
        spent: seconds spent in it.
        seconds: seconds spent over all stages.
        tokens: token positions processed.
        usual: seconds of a usual step.
    """

    step: int = 0
    stage: int = 0
    taken: int = 0
    spent: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    usual: float = 0.0

    def share(self, recipe: Recipe, minutes: float | None) -> float:
        """Return how much of the present stage is done, from 0 to 1."""
        stage = recipe.stages[self.stage]
        done = self.taken / stage.steps
        if minutes is not None:
            done = max(done, self.spent / (60 * minutes * recipe.time_share(self.stage)))
        return min(1.0, done)

    def advance(self, recipe: Recipe, seconds: float, minutes: float | None, batches: int = 1) -> None:
        """Count one step of ``batches`` that took ``seconds``; go on to the next stage where this is done."""
        if self.usual:
            seconds = min(seconds, _PAUSE * self.usual)
            self.usual += 0.05 * (seconds - self.usual)
        elif self.taken:  # the first step compiles
            self.usual = seconds
        self.tokens += recipe.stages[self.stage].batch * batches
        self.step, self.taken = self.step + 1, self.taken + 1
        self.spent, self.seconds = self.spent + seconds, self.seconds + seconds
        if self.share(recipe, minutes) >= 1.0:
            self.stage, self.taken, self.spent, self.usual = self.stage + 1, 0, 0.0, 0.0

    def done(self, recipe: Recipe) -> bool:
        """Whether every stage is done."""
        return self.stage >= len(recipe.stages)

    def overall(self, recipe: Recipe, minutes: float | None) -> float:
        """Return how much of the whole run is done, from 0 to 1."""
        shares = [recipe.time_share(number) for number in range(len(recipe.stages))]
        if self.done(recipe):
            return 1.0
        return sum(shares[: self.stage]) + shares[self.stage] * self.share(recipe, minutes)

    def state(self) -> dict[str, Any]:
        """Return the fields, for the checkpoint."""
        return asdict(self)


def learning_rate(stage: Stage, share: float, step: int, warmup: int) -> float:
    """Return the learning rate: warm-up over the first steps of a run, a cosine to its floor in a stage."""
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return (stage.floor + (stage.peak - stage.floor) * cosine) * min(1.0, (step + 1) / warmup)
