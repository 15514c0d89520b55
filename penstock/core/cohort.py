"""Prompts that pass the model's layers together, one group of layers a step (layered prefill).

Source: "From Tokens to Layers: Redefining Stall-Free Scheduling for LLM Serving with Layered Prefill" (2025),
and its code (scale-snu/layered-prefill).
"""

from __future__ import annotations

from penstock.core.sequence import Sequence


class Cohort:
    """A set of prompt chunks and how many groups of layers they have behind them.

    Nothing of a member counts as planned or computed before its last group: whoever leaves (preempted,
    cancelled, a failed step) starts over, the others go on.

    Args:
        rows: tokens of each member, from its ``planned`` on.
        stages: groups of layers, 1..layers; one a step.
        layers: of the model.
    """

    __slots__ = ("_layers", "_stages", "rows", "stage")

    def __init__(self, rows: dict[Sequence, int], stages: int, layers: int) -> None:
        self.rows = rows
        self.stage = 0
        """Groups that steps planned so far have passed."""
        self._stages = stages
        self._layers = layers

    @property
    def span(self) -> tuple[int, int]:
        """The group that the next step passes, as layers ``[first, stop)``; groups differ by one at most."""
        at, of = self._layers * self.stage, self._stages
        return at // of, (at + self._layers) // of

    @property
    def last(self) -> bool:
        """Whether the next step is the last, after which the members' tokens are computed."""
        return self.stage + 1 == self._stages

    def without(self, seq: Sequence) -> Cohort | None:
        """Take a sequence out, member or not; None when nobody is left."""
        self.rows.pop(seq, None)
        return self if self.rows else None

    def next(self) -> Cohort | None:
        """Note that a step was planned; None when it was the last, or nobody is left."""
        self.stage += 1
        return self if self.rows and self.stage < self._stages else None


def stages_for(tokens: int, table: tuple[tuple[int, int], ...]) -> int:
    """Return the groups that a cohort passes the layers in.

    Args:
        tokens: of the cohort.
        table: (tokens, groups), ascending: up to so many tokens, so many groups; the last entry serves more.
    """
    for most, stages in table:
        if tokens <= most:
            return stages
    return table[-1][1]
