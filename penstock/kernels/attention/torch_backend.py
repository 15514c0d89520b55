"""Attention in plain torch: accumulates in float32, runs on any device, and is always right.

One-row sequences (decode) are batched with padding to the longest of a group of similar lengths; longer ones
run one by one in tiles of queries by keys. Query heads that share a KV head are folded into a GEMM's rows.

Legend: N rows, S sequences of a group, H query heads, G KV heads, R folded query rows (query x group member),
D head dim, T keys, B batch of GEMMs (sequence x KV head).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from penstock.kernels.attention.base import AttnNeed, AttnPlan, LayerKV
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import Partial, merge
from penstock.kernels.rows import StepRows

_GROUP_TOKENS = 32768
"""Most padded keys that a decode group gathers at once: 128 MiB each of K and V at 8 heads of 128 dims."""
_QUERY_TILE = 256
_KEY_TILE = 2048
"""A score tile is heads x _QUERY_TILE x _KEY_TILE float32: 2 MiB per head."""


def fragment(
    q_BRD: Tensor, k_BTD: Tensor, v_BTD: Tensor, seen: Tensor | None, scale: float, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Attend float32 queries to keys.

    Args:
        q_BRD: queries.
        k_BTD: keys.
        v_BTD: values; finite wherever not seen.
        seen: bool, broadcastable to ``[B, R, T]``; None shows everything.
        scale: multiplies the scores.
        softcap: see `LayerSpec.softcap`.

    Returns:
        Output ``[B, R, D]`` and lse ``[B, R]``; rows that see nothing give 0 and -inf.
    """
    score_BRT = torch.bmm(q_BRD * scale, k_BTD.transpose(1, 2))
    if softcap is not None:
        score_BRT = softcap * torch.tanh(score_BRT / softcap)
    if seen is not None:
        score_BRT = score_BRT.masked_fill(~seen, float("-inf"))
    top_BR1 = score_BRT.amax(dim=-1, keepdim=True)
    top_BR1 = torch.where(top_BR1 == float("-inf"), 0.0, top_BR1)
    weight_BRT = torch.exp(score_BRT - top_BR1)
    total_BR1 = weight_BRT.sum(dim=-1, keepdim=True)
    out_BRD = torch.bmm(weight_BRT, v_BTD) / torch.where(total_BR1 == 0, 1.0, total_BR1)
    return out_BRD, (top_BR1 + torch.log(total_BR1)).squeeze(-1)


class _Single(NamedTuple):
    """A sequence with one row in this step."""

    row: int
    sequence: int
    position: int
    kv_len: int

    def pages(self, page_size: int, layer: LayerSpec) -> range:
        """Return the indices of the pages that the row's visible keys lie in."""
        stop = min(self.position + 1, self.kv_len)
        return range(layer.mask.first_visible(self.position) // page_size, -(-stop // page_size))


@dataclass(slots=True)
class _Group:
    """One-row sequences whose keys are gathered together."""

    rows_S: Tensor
    tiles_X: Tensor
    """(block, KV head) tiles in the order sequence, head, page."""
    seen_B1T: Tensor
    dead_XX: tuple[Tensor, ...]
    """Indices (B, T) of gathered keys that lie beyond their sequence: their values may be anything."""


@dataclass(slots=True)
class _Span:
    """A sequence with several rows."""

    sequence: int
    start: int
    """First row in N."""
    positions: list[int]
    kv_len: int


@dataclass(slots=True)
class TorchPlan(AttnPlan):
    """The one-row sequences, the longer ones, and decode groups by window and KV heads, made on demand."""

    singles: list[_Single] = field(default_factory=list)
    spans: list[_Span] = field(default_factory=list)
    groups: dict[tuple[int | None, int], list[_Group]] = field(default_factory=dict)


class TorchAttention:
    """See the module's text."""

    name = "torch"

    @classmethod
    def refusal(cls, need: AttnNeed) -> str | None:
        """See `AttentionBackend.refusal`."""
        if need.batch_invariant:
            return "results depend on how sequences are grouped; batch-invariant mode needs 'invariant'"
        return None

    def plan(self, rows: StepRows, page_size: int) -> TorchPlan:
        """See `AttentionBackend.plan`. Reads the positions on the host."""
        plan = TorchPlan(rows, page_size)
        positions = rows.positions_N.tolist()
        start = 0
        for sequence, (count, kv_len) in enumerate(zip(rows.q_lens, rows.kv_lens, strict=True)):
            if count == 1:
                plan.singles.append(_Single(start, sequence, positions[start], kv_len))
            elif count > 1:
                plan.spans.append(_Span(sequence, start, positions[start : start + count], kv_len))
            start += count
        return plan

    def attend(self, q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: AttnPlan) -> Partial:
        """See `AttentionBackend.attend`."""
        assert isinstance(plan, TorchPlan)
        # Rows of no sequence (padding) keep these: finite, and no key seen.
        out_NHD = torch.zeros(q_NHD.shape, device=q_NHD.device)
        lse_NH = torch.full(q_NHD.shape[:2], float("-inf"), device=q_NHD.device)
        key = (layer.window, layer.kv_heads)
        if key not in plan.groups:
            plan.groups[key] = _make_groups(plan, layer, q_NHD.device)
        for group in plan.groups[key]:
            part = _attend_group(q_NHD, kv, layer, group)
            out_NHD[group.rows_S], lse_NH[group.rows_S] = part
        for span in plan.spans:
            rows = slice(span.start, span.start + len(span.positions))
            out_NHD[rows], lse_NH[rows] = _attend_span(q_NHD[rows], kv, layer, plan, span)
        return Partial(out_NHD, lse_NH)


def _make_groups(plan: TorchPlan, layer: LayerSpec, device: torch.device) -> list[_Group]:
    """Cut the one-row sequences into groups that waste less than half of what they gather."""
    sized = [(len(single.pages(plan.page_size, layer)), single) for single in plan.singles]
    sized.sort(key=lambda entry: -entry[0])
    runs: list[list[_Single]] = []
    widest = 0
    for pages, single in sized:
        full = runs and (len(runs[-1]) + 1) * widest * plan.page_size > _GROUP_TOKENS
        if not runs or full or 2 * pages < widest:
            runs.append([])
            widest = pages
        runs[-1].append(single)
    return [_make_group(plan, run, layer, device) for run in runs]


def _make_group(plan: TorchPlan, run: list[_Single], layer: LayerSpec, device: torch.device) -> _Group:
    page, heads = plan.page_size, layer.kv_heads
    spans = [single.pages(page, layer) for single in run]
    width = max(len(span) for span in spans)
    table_SB = plan.rows.block_table_SB.to(torch.int64)
    column_SW = torch.tensor([[span.start + i for i in range(width)] for span in spans], device=device)
    sequence_S1 = torch.tensor([[single.sequence] for single in run], device=device)
    block_SW = table_SB[sequence_S1, column_SW.clamp(max=table_SB.shape[1] - 1)]
    tile_SGW = block_SW[:, None] * heads + torch.arange(heads, device=device)[:, None]

    offset_T = torch.arange(width * page, device=device)
    key_ST = offset_T + torch.tensor([[span.start * page] for span in spans], device=device)
    position_S1 = torch.tensor([[single.position] for single in run], device=device)
    dead_ST = key_ST >= torch.tensor([[single.kv_len] for single in run], device=device)
    seen_ST = (key_ST <= position_S1) & ~dead_ST
    if layer.window is not None:
        seen_ST &= key_ST > position_S1 - layer.window
    return _Group(
        rows_S=torch.tensor([single.row for single in run], device=device),
        tiles_X=tile_SGW.flatten(),
        seen_B1T=seen_ST.repeat_interleave(heads, dim=0)[:, None],
        dead_XX=dead_ST.repeat_interleave(heads, dim=0).nonzero(as_tuple=True),
    )


def _attend_group(q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, group: _Group) -> Partial:
    batch, keys = group.seen_B1T.shape[0], group.seen_B1T.shape[2]
    head_dim = q_NHD.shape[-1]
    k_XPD, v_XPD = kv.codec.gather(kv.planes, group.tiles_X, torch.float32)
    k_BTD, v_BTD = k_XPD.view(batch, keys, head_dim), v_XPD.view(batch, keys, head_dim)
    v_BTD[group.dead_XX] = 0.0
    q_BRD = q_NHD[group.rows_S].float().view(batch, -1, head_dim)
    out_BRD, lse_BR = fragment(q_BRD, k_BTD, v_BTD, group.seen_B1T, layer.scale, layer.softcap)
    rows = group.rows_S.numel()
    return Partial(out_BRD.reshape(rows, -1, head_dim), lse_BR.reshape(rows, -1))


def _attend_span(q_MHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: TorchPlan, span: _Span) -> Partial:
    """Attend the M rows of one sequence, tile by tile; a query tile's key tiles are merged as fragments."""
    device, page, heads = q_MHD.device, plan.page_size, layer.kv_heads
    blocks_W = plan.rows.block_table_SB[span.sequence].to(torch.int64)
    positions_M = torch.tensor(span.positions, device=device)
    tiles: list[list[Partial]] = [[] for _ in range(0, len(span.positions), _QUERY_TILE)]
    step = max(_KEY_TILE // page, 1) * page
    low = layer.mask.first_visible(min(span.positions)) // page * page
    high = min(span.kv_len, max(span.positions) + 1)
    for key_start in range(low, high, step):
        key_stop = min(key_start + step, high)
        tile_GW = blocks_W[key_start // page : -(-key_stop // page)] * heads
        tile_GW = tile_GW + torch.arange(heads, device=device)[:, None]
        k_XPD, v_XPD = kv.codec.gather(kv.planes, tile_GW.flatten(), torch.float32)
        k_GTD = k_XPD.view(heads, -1, k_XPD.shape[-1])[:, : key_stop - key_start]
        v_GTD = v_XPD.view(heads, -1, v_XPD.shape[-1])[:, : key_stop - key_start]
        key_T = torch.arange(key_start, key_stop, device=device)
        for index, fragments in enumerate(tiles):
            rows = slice(index * _QUERY_TILE, (index + 1) * _QUERY_TILE)
            mine = span.positions[rows]
            if max(mine) < key_start or layer.mask.first_visible(min(mine)) >= key_stop:
                continue
            fragments.append(_span_tile(q_MHD[rows], k_GTD, v_GTD, positions_M[rows], key_T, layer))
    parts = [merge(fragments) for fragments in tiles]
    return Partial(torch.cat([p.out_NHD for p in parts]), torch.cat([p.lse_NH for p in parts]))


def _span_tile(
    q_QHD: Tensor, k_GTD: Tensor, v_GTD: Tensor, positions_Q: Tensor, key_T: Tensor, layer: LayerSpec
) -> Partial:
    count, groups, head_dim = q_QHD.shape[0], layer.kv_heads, q_QHD.shape[-1]
    seen_QT = key_T <= positions_Q[:, None]
    if layer.window is not None:
        seen_QT &= key_T > positions_Q[:, None] - layer.window
    # Fold: row r of KV head g is (query r // share, member r % share).
    share = layer.heads // groups
    q_GRD = q_QHD.float().view(count, groups, share, head_dim).transpose(0, 1).reshape(groups, -1, head_dim)
    seen_RT = seen_QT.repeat_interleave(share, dim=0)
    out_GRD, lse_GR = fragment(q_GRD, k_GTD, v_GTD, seen_RT, layer.scale, layer.softcap)
    out_QHD = out_GRD.view(groups, count, share, head_dim).transpose(0, 1).reshape(count, -1, head_dim)
    return Partial(out_QHD, lse_GR.view(groups, count, share).transpose(0, 1).reshape(count, -1))
