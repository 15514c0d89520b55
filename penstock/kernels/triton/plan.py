"""The host side of a step: which tiles of rows there are, and into how many splits their keys are cut.

Built once per step and shared by all layers. Imports no Triton, so that the CUDA-graph runner can name
`StaticRows` on any machine.

Legend: S sequences, T tiles, N rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from penstock.kernels.attention.base import AttnPlan
from penstock.kernels.rows import StepRows

SHORT_M = 16
"""Folded rows (rows x group) up to which a sequence is *short*: it fits the smallest tensor-core tile."""
LONG_M = 64
"""Folded rows of a tile of a long sequence."""
MAX_SPLITS = 64
MIN_SPLIT_KEYS = 128
"""A split reads at least about this many keys; below, merging costs more than the parallelism brings."""


@dataclass(slots=True)
class StaticRows(StepRows):
    """Rows of a decode step in static buffers: one row per sequence, and all that kernels read on the device.

    Nothing may be read from the host lists but their lengths: a captured CUDA graph runs again with other
    data in the same tensors. A padding row has context length 0. ``kv_lens`` holds the upper bound.
    """

    kv_lens_S: Tensor = field(kw_only=True)
    """int32, context length of each sequence; 0 marks padding."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of the attention kernel and, if its keys are split, one of the merge kernel."""

    tiles_T4: Tensor
    """int32 on the device: sequence, first row, rows, context length."""
    block_m: int
    splits: int


@dataclass(slots=True)
class TritonPlan(AttnPlan):
    """The launches of a step for each number of query heads per KV head (one in nearly all models)."""

    launches: dict[tuple[int, int], tuple[Launch, ...]]
    """By (query heads per KV head, KV heads); filled when a layer of that geometry is first met."""
    covered: bool
    """Every row belongs to some tile; otherwise outputs start from the empty fragment."""


def pick_splits(programs: int, keys: int, processors: int) -> int:
    """Return the power of two of splits that gives about two programs per multiprocessor.

    Args:
        programs: (tile, KV head) pairs.
        keys: longest context among them.
        processors: multiprocessors of the device; 0 where there are none to fill.
    """
    wanted = min(2 * processors // max(programs, 1), keys // MIN_SPLIT_KEYS, MAX_SPLITS)
    return 1 << (max(wanted, 1).bit_length() - 1)


def stored_sequences(rows: StepRows) -> list[tuple[int, int, int, int]]:
    """Return (sequence, first row, rows, context length) of the sequences that are not padding."""
    out, first = [], 0
    end = rows.tokens_N.shape[0] if rows.padded_from is None else rows.padded_from
    for sequence, (count, kv_len) in enumerate(zip(rows.q_lens, rows.kv_lens, strict=True)):
        if first + count <= end:
            out.append((sequence, first, count, kv_len))
        first += count
    return out


def static_tiles(rows: StaticRows) -> Tensor:
    """Return the tiles of a static decode step, derived on the device: one tile of one row per sequence."""
    index_S = torch.arange(rows.kv_lens_S.shape[0], dtype=torch.int32, device=rows.kv_lens_S.device)
    return torch.stack([index_S, index_S, torch.ones_like(index_S), rows.kv_lens_S], dim=1)


def cut_tiles(
    sequences: list[tuple[int, int, int, int]], rows_per_tile: int
) -> tuple[list[tuple[int, int, int, int]], int]:
    """Cut sequences into tiles of at most ``rows_per_tile`` rows; return them and the longest context."""
    tiles = [
        (sequence, first + done, min(rows_per_tile, count - done), kv_len)
        for sequence, first, count, kv_len in sequences
        for done in range(0, count, rows_per_tile)
    ]
    return tiles, max((kv_len for *_, kv_len in sequences), default=0)


def to_device(tiles: list[tuple[int, int, int, int]], device: torch.device) -> Tensor:
    """Return the tiles as an int32 tensor on ``device``; the copy to a GPU is asynchronous."""
    if device.type != "cuda":
        return torch.tensor(tiles, dtype=torch.int32, device=device)
    return torch.tensor(tiles, dtype=torch.int32, pin_memory=True).to(device, non_blocking=True)
