"""The host side of a step: which tiles of rows there are, and into how many splits their keys are cut.

Built once per step and shared by all layers of one geometry. Imports no Triton, so that the CUDA-graph runner
can name `StaticRows` on any machine.

A split is a fixed number of keys, the *share*, rather than a fraction of each context: a long context among
short ones is cut into many splits while the short ones stay whole, so that no program works much longer than
the rest.

Legend: S sequences, T tiles, N rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from penstock.kernels.attention.base import AttnPlan
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.rows import StepRows

SHORT_M = 16
"""Folded rows (rows x group) up to which a sequence is *short*: it fits the smallest tensor-core tile."""
LONG_M = 64
"""Folded rows of a tile of a long sequence."""
MAX_SPLITS = 64
MIN_SHARE = 128
"""Fewest keys of a split; below, merging costs more than the parallelism brings."""
GRAIN = 64
"""A share is a multiple of this, the most keys of a kernel's tile."""
WAVES = 2
"""Programs that a multiprocessor should get."""
STATIC_SPLITS = 4
"""Fewest splits of a captured step: its lengths are unknown, and one of them may be long."""


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

    tiles_T5: Tensor
    """int32 on the device: sequence, first row, rows, context length, share (keys of a split)."""
    block_m: int
    rows_per_tile: int
    """Most rows of a tile."""
    splits: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the launches of a step depend on besides its rows; the same for most layers of a model."""

    group: int
    """Query heads per KV head."""
    kv_heads: int
    window: int | None

    @classmethod
    def of(cls, layer: LayerSpec) -> Geometry:
        """Return a layer's geometry."""
        return cls(layer.heads // layer.kv_heads, layer.kv_heads, layer.window)

    def keys(self, kv_len: int, rows: int) -> int:
        """Return about how many keys a tile of ``rows`` rows reads."""
        return kv_len if self.window is None else min(kv_len, self.window + rows)


@dataclass(slots=True)
class TritonPlan(AttnPlan):
    """The launches of a step by geometry, made when a layer of that geometry is first met."""

    launches: dict[Geometry, tuple[Launch, ...]]
    covered: bool
    """Every row belongs to some tile; otherwise outputs start from the empty fragment."""


@dataclass(frozen=True, slots=True)
class Splitter:
    """Decides the share and the number of splits.

    Args:
        processors: multiprocessors of the device; 0 where there are none to fill, and nothing is split.
        fixed: this many splits whatever the load.
    """

    processors: int
    fixed: int | None = None

    def share(self, total: int, most: int) -> tuple[int, int]:
        """Return (share, splits) for ``total`` keys read by all programs, at most ``most`` by one of them."""
        if self.fixed is not None or not self.processors:
            splits = self.fixed or 1
            return _grain(-(-most // splits)), splits
        even = -(-total // (WAVES * self.processors))
        share = _grain(max(even, MIN_SHARE, -(-most // MAX_SPLITS)))
        return share, max(-(-most // share), 1)

    def static_splits(self, programs: int, bound: int) -> int:
        """Return the splits of a captured step of (tile, KV head) pairs with contexts up to ``bound``."""
        if self.fixed is not None or not self.processors:
            return self.fixed or 1
        wanted = max(-(-WAVES * self.processors // programs), STATIC_SPLITS)
        return max(min(wanted, bound // MIN_SHARE, MAX_SPLITS), 1)

    def static_share(self, keys_S: Tensor, splits: int, kv_heads: int) -> Tensor:
        """Return the share as `share` decides it, for fixed splits, as an int32 scalar on the device."""
        share = keys_S.amax() // splits + 1
        if self.fixed is None and self.processors:
            even = keys_S.sum() * kv_heads // (WAVES * self.processors) + 1
            share = torch.maximum(share, even).clamp(min=MIN_SHARE)
        return ((share + (GRAIN - 1)) // GRAIN * GRAIN).to(torch.int32)


def _grain(keys: int) -> int:
    return max(-(-keys // GRAIN), 1) * GRAIN


def stored_sequences(rows: StepRows) -> list[tuple[int, int, int, int]]:
    """Return (sequence, first row, rows, context length) of the sequences that are not padding."""
    out, first = [], 0
    end = rows.tokens_N.shape[0] if rows.padded_from is None else rows.padded_from
    for sequence, (count, kv_len) in enumerate(zip(rows.q_lens, rows.kv_lens, strict=True)):
        if first + count <= end:
            out.append((sequence, first, count, kv_len))
        first += count
    return out


def static_launch(rows: StaticRows, block_m: int, geometry: Geometry, splitter: Splitter) -> Launch:
    """Return the launch of a static decode step, derived on the device: one tile of one row per sequence."""
    kv_lens_S = rows.kv_lens_S
    count = kv_lens_S.shape[0]
    bound = geometry.keys(max(rows.kv_lens), 1)
    splits = splitter.static_splits(count * geometry.kv_heads, bound)
    share = splitter.static_share(kv_lens_S.clamp(max=bound), splits, geometry.kv_heads)
    index_S = torch.arange(count, dtype=torch.int32, device=kv_lens_S.device)
    columns = (index_S, index_S, torch.ones_like(index_S), kv_lens_S, share.expand(count))
    return Launch(torch.stack(columns, dim=1), block_m, 1, splits)


def launch_of(
    sequences: list[tuple[int, int, int, int]],
    block_m: int,
    geometry: Geometry,
    splitter: Splitter,
    device: torch.device,
) -> Launch:
    """Cut sequences into tiles of at most ``block_m // group`` rows; the copy to a GPU is asynchronous."""
    most_rows = min(block_m // geometry.group, max(count for _, _, count, _ in sequences))
    tiles = [
        (sequence, first + done, min(most_rows, count - done), kv_len)
        for sequence, first, count, kv_len in sequences
        for done in range(0, count, most_rows)
    ]
    keys = [geometry.keys(kv_len, rows) for _, _, rows, kv_len in tiles]
    share, splits = splitter.share(sum(keys) * geometry.kv_heads, max(keys))
    host = torch.tensor(
        [(*tile, share) for tile in tiles], dtype=torch.int32, pin_memory=device.type == "cuda"
    )
    return Launch(host.to(device, non_blocking=True), block_m, most_rows, splits)
