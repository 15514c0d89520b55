"""From a plan's work items to the rows of a step: vectorised, no Python per row.

Legend: N rows of the step, S sequences that run, R sampled rows, B block-table columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from penstock.core.plan import WorkItem
from penstock.kernels.rows import StepRows
from penstock.runtime.pooling import PooledRows, pooled_rows
from penstock.runtime.sampler.params import Ints, Uses
from penstock.runtime.slots import SlotTable


@dataclass(slots=True, frozen=True)
class PromptRows:
    """Rows of one item whose prompt tokens are to be scored."""

    item: int
    """Index of the plan's work item."""
    slot: int
    first_row: int
    """Row of the step that scores the first of `targets`; the others follow it."""
    targets: NDArray[np.int32]
    """The prompt tokens that these rows predict."""

    def wanted(self) -> Ints:
        """Return the rows."""
        return self.first_row + np.arange(len(self.targets))


@dataclass(slots=True)
class StepBatch:
    """A step's rows, and which items, slots and sampled tokens they belong to."""

    rows: StepRows
    faulty: tuple[int, ...]
    """Indices of work items that are not run because their sequence is faulty."""
    carried_N: Ints
    """Rows whose token was sampled by a step that has not landed; to be filled in on the device."""
    carried_slots: Ints
    sample_items_R: Ints
    """Index of the work item of each sampled row."""
    sample_slots_R: Ints
    sample_positions_R: Ints
    """Absolute position of each token to be sampled."""
    sample_epochs_R: Ints
    prompts: tuple[PromptRows, ...]
    pooled: tuple[PooledRows, ...]


def build_batch(items: tuple[WorkItem, ...], table: SlotTable, device: torch.device) -> StepBatch | None:
    """Lay out the rows of a step whose table changes have been applied.

    Returns:
        None when every item's sequence is faulty.

    Raises:
        StepFault: an item refers to a slot, token or page that was never given.
    """
    fields = np.fromiter(
        (x for item in items for x in (item.slot, item.start, item.length, item.sample)),
        np.int64,
        4 * len(items),
    ).reshape(-1, 4)
    items_S = np.arange(len(items))
    skip_S = table.faulty[fields[:, 0]]
    faulty = tuple(np.flatnonzero(skip_S).tolist())
    if faulty:
        items_S, fields = items_S[~skip_S], fields[~skip_S]
        if not len(items_S):
            return None
    slots_S, starts_S, lengths_S, sampled_S = fields.T
    ends_S = starts_S + lengths_S
    table.check(slots_S, ends_S)
    last_rows_S = np.cumsum(lengths_S) - 1
    rows_of_N, positions_N = _spread(starts_S, lengths_S, last_rows_S)
    slots_N = slots_S[rows_of_N] if rows_of_N is not None else slots_S
    carried_N = np.flatnonzero(positions_N >= table.landed[slots_N])
    tokens_N = table.tokens[slots_N, positions_N].astype(np.int64)
    tokens_N[carried_N] = 0
    pages_N = table.table[slots_N, positions_N // table.page_size].astype(np.int64)
    columns_S = -(-ends_S // table.page_size)
    columns = int(columns_S.max())
    block_table_SB = table.table[slots_S, :columns]
    block_table_SB[np.arange(columns) >= columns_S[:, None]] = 0
    sampling = np.flatnonzero(sampled_S)
    prompts = _prompt_rows(items_S, slots_S, starts_S, ends_S, last_rows_S, table)
    pooled = pooled_rows(items_S, slots_S, starts_S, ends_S, last_rows_S, table)
    wanted_N = [last_rows_S[sampling], *(p.wanted() for p in prompts), *(p.wanted() for p in pooled)]
    send = _Sender(device)
    return StepBatch(
        rows=StepRows(
            tokens_N=send(tokens_N),
            positions_N=send(positions_N),
            kv_slots_N=send(pages_N * table.page_size + positions_N % table.page_size),
            block_table_SB=send(block_table_SB),
            q_lens=lengths_S.tolist(),
            kv_lens=ends_S.tolist(),
            sample_rows_R=send(np.concatenate(wanted_N)),
        ),
        faulty=faulty,
        carried_N=carried_N,
        carried_slots=slots_N[carried_N],
        sample_items_R=items_S[sampling],
        sample_slots_R=slots_S[sampling],
        sample_positions_R=ends_S[sampling],
        sample_epochs_R=table.epoch[slots_S[sampling]],
        prompts=prompts,
        pooled=pooled,
    )


def _spread(starts_S: Ints, lengths_S: Ints, last_rows_S: Ints) -> tuple[Ints | None, Ints]:
    """Sequence and position of each row; no sequence index when every sequence has one row (decode only)."""
    if last_rows_S[-1] + 1 == len(lengths_S):
        return None, starts_S.copy()
    rows_of_N = np.repeat(np.arange(len(lengths_S)), lengths_S)
    first_rows_S = last_rows_S - lengths_S + 1
    return rows_of_N, np.arange(len(rows_of_N)) + (starts_S - first_rows_S)[rows_of_N]


def _prompt_rows(
    items_S: Ints, slots_S: Ints, starts_S: Ints, ends_S: Ints, last_rows_S: Ints, table: SlotTable
) -> tuple[PromptRows, ...]:
    """Row i of an item scores the token at start + i + 1, as long as that is a prompt token."""
    asked_S = (table.sampling.flags[slots_S] & int(Uses.PROMPT_LOGPROBS)) != 0
    if not asked_S.any():
        return ()
    found = []
    for s in np.flatnonzero(asked_S & (starts_S + 1 < table.prompt_len[slots_S])):
        slot, start, end = int(slots_S[s]), int(starts_S[s]), int(ends_S[s])
        targets = table.history(slot, start + 1, min(end + 1, int(table.prompt_len[slot]))).copy()
        found.append(PromptRows(int(items_S[s]), slot, int(last_rows_S[s]) - (end - start) + 1, targets))
    return tuple(found)


class _Sender:
    """Moves host arrays to a device; on CUDA through pinned memory, so that the copy does not wait."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, array: NDArray[np.generic]) -> torch.Tensor:
        host = torch.from_numpy(np.ascontiguousarray(array))
        if self.device.type == "cpu":
            return host
        return host.pin_memory().to(self.device, non_blocking=True)
