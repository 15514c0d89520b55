"""Attention on the CPU kernels: pages are read where they lie, work is planned once per step.

A row's bits depend on its query and its keys only: the kernels sum over blocks and segments of keys that are
counted from position 0, so neither chunks, company nor the number of threads show (``csrc/attend.h``). The
backend is its own batch-invariant sibling.

Legend: N rows, S sequences, H query heads, G KV heads, D head dim, B blocks, P page, U units of work.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import torch
from torch import Tensor

from penstock.kernels.attention.base import AttnNeed, AttnPlan, LayerKV
from penstock.kernels.heads import HeadPrep
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.native.heads import NativeHeads
from penstock.kernels.native.library import AttendUnit, AttentionStruct, library, why_missing
from penstock.kernels.native.planes import TYPES, addresses
from penstock.kernels.partial import Partial
from penstock.kernels.rows import StepRows


@dataclass(slots=True)
class _Work:
    """The work of a step for layers of one shape."""

    units_U: ctypes.Array[AttendUnit]
    counts: ctypes.Array[ctypes.c_int64]
    call: AttentionStruct
    """What these layers share is filled in; the rest is filled in by each."""


_Shape = tuple[int, int, int, int, float, float]
"""Window (0: none), heads, KV heads, head dim, scale, softcap (0: none)."""


@dataclass(slots=True)
class NativePlan(AttnPlan):
    """What the kernels read of a step; work by the shape of layers, made when the first such layer comes."""

    q_lens_S: Tensor
    lengths_S: Tensor
    positions_N: Tensor
    table_SB: Tensor
    count: int
    """Rows of sequences; what follows is padding."""
    work: dict[_Shape, _Work] = field(default_factory=dict)

    def work_for(self, layer: LayerSpec) -> _Work:
        """Return the work of a layer."""
        dim, softcap = layer.head_dim, layer.softcap or 0.0
        shape = (layer.window or 0, layer.heads, layer.kv_heads, dim, layer.scale, softcap)
        work = self.work.get(shape)
        if work is None:
            work = self.work[shape] = self._make(shape)
        return work

    def _make(self, shape: _Shape) -> _Work:
        lib, counts = library(), (ctypes.c_int64 * 3)()
        window, heads, kv_heads, dim, scale, softcap = shape
        call = AttentionStruct(
            table=self.table_SB.data_ptr(),
            positions=self.positions_N.data_ptr(),
            lengths=self.lengths_S.data_ptr(),
            ld_table=self.table_SB.shape[1],
            heads=heads,
            kv_heads=kv_heads,
            dim=dim,
            page=self.page_size,
            window=window,
            scale=scale,
            softcap=softcap,
        )
        capacity = 2 * len(self.q_lens_S) + self.count + 64
        while True:
            work = _Work((AttendUnit * capacity)(), counts, call)
            status = lib.ps_attend_plan(
                self.q_lens_S.data_ptr(),
                self.lengths_S.data_ptr(),
                self.positions_N.data_ptr(),
                len(self.q_lens_S),
                heads,
                kv_heads,
                self.page_size,
                window,
                work.units_U,
                capacity,
                counts,
            )
            if status == 0:
                return work
            capacity = counts[0] + counts[1]


class NativeAttention:
    """See the module's text. Not to be used by two threads at once: the kernels have one compute team."""

    name = "native"

    @classmethod
    def refusal(cls, need: AttnNeed) -> str | None:
        """See `AttentionBackend.refusal`."""
        if need.device != "cpu":
            return f"runs on cpu, not on {need.device}"
        if need.kernels != "native":
            return f"shares its threads with model.kernels native, which is {need.kernels}"
        if need.dtype not in (torch.float32, torch.bfloat16):
            return f"takes float32 and bfloat16, not {str(need.dtype).removeprefix('torch.')}"
        if need.codec not in ("raw", "int8"):
            return f"reads raw and int8 KV only, not {need.codec}"
        return why_missing()

    def plan(self, rows: StepRows, page_size: int) -> NativePlan:
        """See `AttentionBackend.plan`."""
        return NativePlan(
            rows,
            page_size,
            torch.tensor(rows.q_lens, dtype=torch.int64),
            torch.tensor(rows.kv_lens, dtype=torch.int64),
            rows.positions_N.contiguous(),
            rows.block_table_SB.to(torch.int32).contiguous(),
            sum(rows.q_lens),
        )

    def attend(self, q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: AttnPlan) -> Partial:
        """See `AttentionBackend.attend`; ``out`` has q's dtype."""
        assert isinstance(plan, NativePlan)
        if q_NHD.stride(2) != 1 or q_NHD.stride(1) != layer.head_dim:
            q_NHD = q_NHD.contiguous()
        out_NHD = torch.empty(q_NHD.shape, dtype=q_NHD.dtype)
        lse_NH = torch.empty(q_NHD.shape[:2])
        if plan.count < len(q_NHD):
            out_NHD[plan.count :], lse_NH[plan.count :] = 0.0, float("-inf")
        work = plan.work_for(layer)
        call = work.call
        call.q, call.out, call.lse = q_NHD.data_ptr(), out_NHD.data_ptr(), lse_NH.data_ptr()
        call.k, call.v, call.k_scale, call.v_scale = addresses(kv)
        call.ldq, call.type = q_NHD.stride(0), TYPES[q_NHD.dtype]
        call.kv_type = TYPES[kv.planes["k"].dtype]
        library().ps_attend(ctypes.byref(call), work.units_U, work.counts)
        return Partial(out_NHD, lse_NH)

    def heads(self, layer: LayerSpec, prep: HeadPrep) -> NativeHeads:
        """See `HeadBackend.heads`."""
        return NativeHeads(layer, prep)

    def write(self, kv: LayerKV, slots_N: Tensor, k_NGD: Tensor, v_NGD: Tensor) -> None:
        """See `WritingBackend.write`."""
        heads, page, dim = kv.planes["k"].shape[1:]
        if kv.codec.name == "raw":
            k_NGD, v_NGD = k_NGD.to(kv.planes["k"].dtype), v_NGD.to(kv.planes["v"].dtype)
        k_NGD, v_NGD = _packed_heads(k_NGD), _packed_heads(v_NGD)
        library().ps_kv_write(
            k_NGD.data_ptr(),
            v_NGD.data_ptr(),
            k_NGD.stride(0),
            v_NGD.stride(0),
            TYPES[k_NGD.dtype],
            slots_N.contiguous().data_ptr(),
            slots_N.numel(),
            heads,
            dim,
            page,
            *addresses(kv),
        )


def _packed_heads(rows_NGD: Tensor) -> Tensor:
    """Return rows whose heads follow each other without gaps; the rows themselves may be strided."""
    if rows_NGD.stride(2) == 1 and rows_NGD.stride(1) == rows_NGD.shape[2]:
        return rows_NGD
    return rows_NGD.contiguous()
