"""The rows of one step, as tensors: the only thing the model and the attention kernels see of a batch.

Legend: N rows (tokens) of the step, S sequences of the step, B block-table columns, R sampled rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(slots=True)
class StepRows:
    """Rows of all sequences of a step, concatenated sequence by sequence.

    Every row knows its absolute position and where its keys and values are stored, so nothing downstream
    assumes that a query block ends where its context ends.
    """

    tokens_N: Tensor
    """int64, token ids."""
    positions_N: Tensor
    """int64, absolute position of each row in its sequence, from 0."""
    kv_slots_N: Tensor
    """int64, where the row's KV is written: ``block id * page size + offset in page``."""
    block_table_SB: Tensor
    """int32, block ids of each sequence in order; entries past its length are 0."""
    q_lens: list[int]
    """Host copy: rows of each sequence in this step (>= 1)."""
    kv_lens: list[int]
    """Host copy: context length of each sequence *including* this step's rows."""
    sample_rows_R: Tensor
    """int64, rows whose logits are wanted."""
    padded_from: int | None = None
    """If set, rows from here on are padding (CUDA graphs, batch-invariant tiles) and are not stored."""
