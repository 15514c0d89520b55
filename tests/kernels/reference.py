"""Attention written for reading, not for speed: one row at a time, in float64, by the definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from penstock.kernels.attention.base import LayerKV
from penstock.kernels.codec import Codec, RawCodec
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.rows import StepRows
from penstock.kernels.store import KVStore


@dataclass
class Case:
    """A filled store, the rows of a step, and their queries."""

    layer: LayerSpec
    store: KVStore
    rows: StepRows
    q_NHD: Tensor
    keys: list[Tensor]
    values: list[Tensor]

    @property
    def kv(self) -> LayerKV:
        return self.store.layer(self.layer.index)


def make_case(
    layer: LayerSpec,
    work: Sequence[tuple[int, int]],
    page: int = 8,
    seed: int = 0,
    codec: Codec | None = None,
    positions: Sequence[Sequence[int]] | None = None,
    poison: float = float("nan"),
) -> Case:
    """Build a step.

    Args:
        layer: window, softcap, heads.
        work: (rows, context length) of each sequence.
        page: tokens per page.
        seed: of all values and of the order of pages.
        codec: raw if not given.
        positions: query positions of each sequence; the last ones of its context if not given.
        poison: what fills every slot that belongs to no sequence.
    """
    generator = torch.Generator().manual_seed(seed)
    codec = codec or RawCodec()
    need = [-(-kv_len // page) for _, kv_len in work]
    store = KVStore([layer], codec, sum(need) + 2, page, torch.float32, "cpu")
    for plane in store.layer(layer.index).planes.values():
        if plane.is_floating_point():
            plane.fill_(poison)
    deal = torch.randperm(sum(need) + 2, generator=generator).tolist()
    table = torch.full((len(work), max(need)), deal.pop(), dtype=torch.int32)
    keys, values = [], []
    for s, ((_, kv_len), count) in enumerate(zip(work, need, strict=True)):
        blocks = torch.tensor([deal.pop() for _ in range(count)])
        table[s, :count] = blocks.int()
        k, v = torch.randn(2, kv_len, layer.kv_heads, layer.head_dim, generator=generator)
        at = torch.arange(kv_len)
        codec.write(store.layer(layer.index).planes, blocks[at // page] * page + at % page, k, v)
        keys.append(k)
        values.append(v)
    spots = positions or [range(kv_len - n, kv_len) for n, kv_len in work]
    flat = [p for spot in spots for p in spot]
    rows = StepRows(
        tokens_N=torch.zeros(len(flat), dtype=torch.int64),
        positions_N=torch.tensor(flat),
        kv_slots_N=torch.zeros(len(flat), dtype=torch.int64),
        block_table_SB=table,
        q_lens=[n for n, _ in work],
        kv_lens=[kv_len for _, kv_len in work],
        sample_rows_R=torch.tensor([0]),
    )
    q_NHD = torch.randn(len(flat), layer.heads, layer.head_dim, generator=generator)
    return Case(layer, store, rows, q_NHD, keys, values)


def attend_slowly(case: Case) -> tuple[Tensor, Tensor]:
    """Return out ``[N, H, D]`` and lse ``[N, H]`` in float64, by the definition."""
    layer, q_NHD = case.layer, case.q_NHD.double()
    out_NHD, lse_NH = torch.zeros_like(q_NHD), torch.full(q_NHD.shape[:2], float("-inf"), dtype=torch.float64)
    row = 0
    for s, count in enumerate(case.rows.q_lens):
        for _ in range(count):
            position = int(case.rows.positions_N[row])
            low = 0 if layer.window is None else max(0, position - layer.window + 1)
            for head in range(layer.heads):
                group = head // (layer.heads // layer.kv_heads)
                k = case.keys[s][low : position + 1, group].double()
                v = case.values[s][low : position + 1, group].double()
                score = k @ q_NHD[row, head] * layer.scale
                if layer.softcap is not None:
                    score = layer.softcap * torch.tanh(score / layer.softcap)
                out_NHD[row, head] = torch.softmax(score, 0) @ v
                lse_NH[row, head] = torch.logsumexp(score, 0)
            row += 1
    return out_NHD, lse_NH
