"""Pooling: the final hidden states of prompt tokens, summed over the rows of a step.

Sums rather than averages leave the step, because a prompt may take several steps; whoever adds them up
divides.

Legend: N rows of the step, E hidden size, C rows of one item.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from penstock.core.plan import Pooled
from penstock.runtime.sampler.params import Ints, Uses
from penstock.runtime.slots import SlotTable


@dataclass(slots=True, frozen=True)
class PooledRows:
    """Rows of one item whose hidden states are to be summed."""

    item: int
    """Index of the plan's work item."""
    start: int
    """Position of the first row's token."""
    first_row: int
    rows: int

    def wanted(self) -> Ints:
        """Return the rows."""
        return self.first_row + np.arange(self.rows)

    def total(self, hidden_NE: Tensor) -> Tensor:
        """Return the sum of these rows in float32, ``[E]``, on their device."""
        return hidden_NE[self.first_row : self.first_row + self.rows].float().sum(dim=0)

    def packed(self, total_E: Tensor) -> Pooled:
        """Return the sum in the form that leaves the executor; waits for the device."""
        return Pooled(self.start, self.rows, total_E.cpu().numpy().astype("<f4").tobytes())


def pooled_rows(
    items_S: Ints, slots_S: Ints, starts_S: Ints, ends_S: Ints, last_rows_S: Ints, table: SlotTable
) -> tuple[PooledRows, ...]:
    """Find the prompt rows that pooling wants: all of them for an average, else the prompt's last."""
    asked_S = (table.sampling.flags[slots_S] & int(Uses.POOLING)) != 0
    if not asked_S.any():
        return ()
    found = []
    for s in np.flatnonzero(asked_S & (starts_S < table.prompt_len[slots_S])):
        slot, start, end, last = int(slots_S[s]), int(starts_S[s]), int(ends_S[s]), int(last_rows_S[s])
        prompt = int(table.prompt_len[slot])
        stop, sparse = min(end, prompt), table.sampling.sparse[slot]
        first = start
        if sparse is not None and sparse.params.pooling == "last":
            if stop < prompt:
                continue
            first = prompt - 1
        found.append(PooledRows(int(items_S[s]), first, last - (end - 1 - first), stop - first))
    return tuple(found)
