"""Steps scatter: a shared machine takes more or less time for the same step, and tails come from that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.core.plan import PlanShape
from penstock.cost.model import CostModel

CLASSES = 16
"""Steps are classed by their rows, one class a doubling."""
ENOUGH = 40
"""Recorded steps from which a class scatters as its own did; smaller classes as all did."""


class Scatter:
    """How far measured steps lie from a model's prediction, as ratios by class.

    Args:
        shapes: recorded steps.
        ratios: measured over predicted seconds of each.
    """

    def __init__(self, shapes: Sequence[PlanShape], ratios: Sequence[float]) -> None:
        everything = np.asarray(ratios, dtype=np.float64)
        if not len(everything):
            everything = np.ones(1)
        classes = np.array([_class_of(shape) for shape in shapes])
        own = [everything[classes == c] if len(shapes) else everything for c in range(CLASSES)]
        self.ratios = [group if len(group) >= ENOUGH else everything for group in own]

    def drawn(self, cost: CostModel, seed: int) -> Scattered:
        """Return the model with scatter drawn from a seed."""
        return Scattered(cost, self, seed)


class Scattered:
    """A cost model whose steps scatter as recorded ones did; the same seed gives the same run.

    Args:
        cost: the model scattered around.
        scatter: recorded ratios.
        seed: of the draws.
    """

    def __init__(self, cost: CostModel, scatter: Scatter, seed: int) -> None:
        self._cost = cost
        rng = np.random.default_rng(seed)
        self._drawn: list[list[float]] = [rng.choice(group, 4096).tolist() for group in scatter.ratios]
        self._at = 0

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that this step takes this time."""
        self._at += 1
        return self._cost.step(shape) * self._drawn[_class_of(shape)][self._at & 4095]


def _class_of(shape: PlanShape) -> int:
    return min(shape.tokens.bit_length(), CLASSES - 1)
