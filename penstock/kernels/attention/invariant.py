"""Attention in which a row's bits depend on its query and its keys only, not on chunks, batch or prefix hits.

Queries go in tiles of 16 rows; keys in tiles that start at multiples of one length counted from position 0.
Every GEMM and reduction has one shape, and key tiles are merged in order by the online softmax (Milakov and
Gimelshein, 2018). A key tile that a row does not see leaves its running state bit for bit as it was, so it
does not matter which tiles the neighbours of a row make it pass through.

Legend: N rows, U units (a query tile of a sequence) of a batch, Q rows of a query tile, H query heads, G KV
heads, D head dim, R folded rows (query x member of the KV head's group), T keys of a tile, B = U x G.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from penstock.kernels.attention.base import AttnNeed, AttnPlan, LayerKV
from penstock.kernels.invariant_ops import by_runs
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import Partial
from penstock.kernels.rows import StepRows

_QUERIES = 16
_KEYS = 128
"""Least keys per tile; rounded up to whole pages."""
_UNITS = 8
"""Units per batch of GEMMs; the last batch is padded with units that see nothing."""


@dataclass(slots=True)
class _Batch:
    """`_UNITS` query tiles. Padding has position -1, which sees no key."""

    rows_UQ: Tensor
    """Row of the step, 0 in padding."""
    live_UQ: Tensor
    position_UQ: Tensor
    sequence_U: Tensor
    kv_len_U: Tensor
    spans: list[tuple[int, int]]
    """(lowest, highest) position of each unit, on the host."""


@dataclass(slots=True)
class InvariantPlan(AttnPlan):
    """The step's query tiles, in batches."""

    batches: list[_Batch] = field(default_factory=list)
    key_tile: int = _KEYS


class InvariantAttention:
    """See the module's text."""

    name = "invariant"

    @classmethod
    def refusal(cls, need: AttnNeed) -> str | None:
        """See `AttentionBackend.refusal`; nothing is refused."""
        return None

    def plan(self, rows: StepRows, page_size: int) -> InvariantPlan:
        """See `AttentionBackend.plan`. Reads the positions on the host."""
        positions = rows.positions_N.tolist()
        units: list[tuple[int, int, list[int]]] = []
        start = 0
        for sequence, count in enumerate(rows.q_lens):
            for first in range(start, start + count, _QUERIES):
                stop = min(first + _QUERIES, start + count)
                units.append((sequence, first, positions[first:stop]))
            start += count
        # Units of like reach together, so that few pass through tiles that they do not see.
        units.sort(key=lambda unit: max(unit[2]))
        device = rows.positions_N.device
        batches = [_batch(units[i : i + _UNITS], rows, device) for i in range(0, len(units), _UNITS)]
        return InvariantPlan(rows, page_size, batches, -(-_KEYS // page_size) * page_size)

    def attend(self, q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: AttnPlan) -> Partial:
        """See `AttentionBackend.attend`."""
        assert isinstance(plan, InvariantPlan)
        out_NHD = torch.zeros(q_NHD.shape, device=q_NHD.device)
        lse_NH = torch.full(q_NHD.shape[:2], float("-inf"), device=q_NHD.device)
        for batch in plan.batches:
            out_UQHD, lse_UQH = _attend_batch(q_NHD, kv, layer, plan, batch)
            rows = batch.rows_UQ[batch.live_UQ]
            out_NHD[rows] = out_UQHD[batch.live_UQ]
            lse_NH[rows] = lse_UQH[batch.live_UQ]
        return Partial(out_NHD, lse_NH)


def _batch(units: list[tuple[int, int, list[int]]], rows: StepRows, device: torch.device) -> _Batch:
    place = [[-1] * _QUERIES for _ in range(_UNITS)]
    position = [[-1] * _QUERIES for _ in range(_UNITS)]
    sequence, kv_len = [0] * _UNITS, [0] * _UNITS
    for u, (owner, first, positions) in enumerate(units):
        place[u][: len(positions)] = range(first, first + len(positions))
        position[u][: len(positions)] = positions
        sequence[u], kv_len[u] = owner, rows.kv_lens[owner]
    place_UQ = torch.tensor(place, device=device)
    return _Batch(
        rows_UQ=place_UQ.clamp(min=0),
        live_UQ=place_UQ >= 0,
        position_UQ=torch.tensor(position, device=device),
        sequence_U=torch.tensor(sequence, device=device),
        kv_len_U=torch.tensor(kv_len, device=device),
        spans=[(min(positions), max(positions)) for _, _, positions in units],
    )


def _attend_batch(
    q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: InvariantPlan, batch: _Batch
) -> tuple[Tensor, Tensor]:
    """Return out ``[U, Q, H, D]`` and lse ``[U, Q, H]``."""
    dim, groups, share = q_NHD.shape[-1], layer.kv_heads, layer.heads // layer.kv_heads
    q_UQGSD = q_NHD[batch.rows_UQ].float().view(_UNITS, _QUERIES, groups, share, dim) * layer.scale
    q_BRD = q_UQGSD.transpose(1, 2).reshape(_UNITS * groups, _QUERIES * share, dim)
    device = q_NHD.device
    top_BR1 = torch.full((*q_BRD.shape[:2], 1), float("-inf"), device=device)
    total_BR1 = torch.zeros_like(top_BR1)
    acc_BRD = torch.zeros_like(q_BRD)
    first = min(layer.mask.first_visible(low) for low, _ in batch.spans) // plan.key_tile
    last = max(high for _, high in batch.spans) // plan.key_tile
    for tile in range(first, last + 1):
        k_BTD, v_BTD, seen_BRT = _key_tile(kv, layer, plan, batch, tile)
        score_BRT = torch.bmm(q_BRD, k_BTD.transpose(1, 2))
        if layer.softcap is not None:
            score_BRT = layer.softcap * by_runs(torch.tanh, score_BRT / layer.softcap)
        score_BRT = score_BRT.masked_fill(~seen_BRT, float("-inf"))
        new_BR1 = torch.maximum(top_BR1, score_BRT.amax(dim=-1, keepdim=True))
        shift_BR1 = torch.where(new_BR1 == float("-inf"), 0.0, new_BR1)
        fade_BR1 = by_runs(torch.exp, top_BR1 - shift_BR1)
        weight_BRT = by_runs(torch.exp, score_BRT - shift_BR1)
        total_BR1 = total_BR1 * fade_BR1 + weight_BRT.sum(dim=-1, keepdim=True)
        acc_BRD = acc_BRD * fade_BR1 + torch.bmm(weight_BRT, v_BTD)
        top_BR1 = new_BR1
    out_BRD = acc_BRD / torch.where(total_BR1 == 0, 1.0, total_BR1)
    lse_BR1 = torch.where(top_BR1 == float("-inf"), top_BR1, top_BR1 + by_runs(torch.log, total_BR1))

    def unfold(folded: Tensor) -> Tensor:
        parts = folded.view(_UNITS, groups, _QUERIES, share, -1)
        return parts.transpose(1, 2).reshape(_UNITS, _QUERIES, layer.heads, -1)

    return unfold(out_BRD), unfold(lse_BR1).squeeze(-1)


def _key_tile(
    kv: LayerKV, layer: LayerSpec, plan: InvariantPlan, batch: _Batch, tile: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the keys and values of a tile for every unit, and which folded row sees which key."""
    table_SB, heads = plan.rows.block_table_SB, layer.kv_heads
    device, page = table_SB.device, plan.page_size
    column_W = torch.arange(tile * plan.key_tile // page, (tile + 1) * plan.key_tile // page, device=device)
    # Columns past the table repeat its last page; their keys are dead and masked.
    column_W = column_W.clamp(max=table_SB.shape[1] - 1)
    block_UW = table_SB[batch.sequence_U].to(torch.int64)[:, column_W]
    tile_UGW = block_UW[:, None] * heads + torch.arange(heads, device=device)[:, None]
    k_XPD, v_XPD = kv.codec.gather(kv.planes, tile_UGW.flatten(), torch.float32)
    k_BTD = k_XPD.view(_UNITS * heads, plan.key_tile, -1)
    v_BTD = v_XPD.view(_UNITS * heads, plan.key_tile, -1)

    key_T = torch.arange(tile * plan.key_tile, (tile + 1) * plan.key_tile, device=device)
    alive_UT = key_T < batch.kv_len_U[:, None]
    v_BTD = v_BTD.masked_fill(~alive_UT.repeat_interleave(heads, dim=0)[..., None], 0.0)
    seen_UQT = (key_T <= batch.position_UQ[..., None]) & alive_UT[:, None]
    if layer.window is not None:
        seen_UQT &= key_T > batch.position_UQ[..., None] - layer.window
    seen_URT = seen_UQT.repeat_interleave(layer.heads // heads, dim=1)
    return k_BTD, v_BTD, seen_URT.repeat_interleave(heads, dim=0)
