"""The row axis: which rows of the step each layer computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.kernels.rows import StepRows


class RowPlanner(Protocol):
    """Decides the rows per layer. Cached prefixes never get here: the brain leaves their rows out."""

    name: str

    def plan(self, rows: StepRows, layers: int) -> Sequence[StepRows]:
        """Return the rows that each layer computes, one entry per layer.

        A layer whose entry is another object than the previous layer's computes a subset of it.
        """
        ...

    def fingerprint(self) -> str:
        """Return a salt for the prefix cache; empty when hidden states are those of the dense model."""
        ...


class AllRows:
    """Every row in every layer: the dense model."""

    name = "all"

    def plan(self, rows: StepRows, layers: int) -> Sequence[StepRows]:
        """See `RowPlanner.plan`."""
        return [rows] * layers

    def fingerprint(self) -> str:
        """See `RowPlanner.fingerprint`."""
        return ""
