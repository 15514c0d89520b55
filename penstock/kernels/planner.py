"""The row axis: which rows of the step each layer computes.

Legend: N rows of the step, M rows that go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from penstock.kernels.rows import StepRows


@dataclass(frozen=True, slots=True)
class LayerRows:
    """What one layer computes.

    Keys and values are made and stored for every row that enters the layer; queries, and all that follows in
    this layer and the next ones, only for those that go on.
    """

    queries: StepRows
    """The rows that go on, with their own ``q_lens`` (0 for a sequence of which none does)."""
    keep_M: Tensor | None = None
    """Indices of the rows that go on among those that enter, ascending; None: all of them."""


class RowPlanner(Protocol):
    """Decides the rows per layer. Cached prefixes never get here: the brain leaves their rows out."""

    name: str

    def plan(self, rows: StepRows, layers: int) -> Sequence[LayerRows]:
        """Return what each layer computes; all rows of the step enter the first one."""
        ...

    def fingerprint(self) -> str:
        """Return a salt for the prefix cache; empty when hidden states are those of the dense model."""
        ...


class AllRows:
    """Every row in every layer: the dense model."""

    name = "all"

    def plan(self, rows: StepRows, layers: int) -> Sequence[LayerRows]:
        """See `RowPlanner.plan`."""
        return (LayerRows(rows),) * layers

    def fingerprint(self) -> str:
        """See `RowPlanner.fingerprint`."""
        return ""
