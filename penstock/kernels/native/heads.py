"""The heads of a layer in one kernel: normed and rotated where the product left them, stored in the pages.

Legend: N rows, F heads of a row (queries, keys, values), H query heads, D head dim.
"""

from __future__ import annotations

import ctypes

from torch import Tensor

from penstock.kernels.attention.base import LayerKV
from penstock.kernels.heads import HeadPrep, Turn
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.native.library import HeadPrepStruct, library
from penstock.kernels.native.planes import TYPES, addresses


class NativeHeads:
    """See `penstock.kernels.heads.PrepareHeads`. Not to be used by two threads at once.

    Args:
        layer: whose heads.
        prep: what is done to them.
    """

    def __init__(self, layer: LayerSpec, prep: HeadPrep) -> None:
        self._run = library().ps_heads
        self._prep = prep  # its tensors must live as long as their addresses are used
        self._layer = layer
        self._call = HeadPrepStruct(
            q_norm=None if prep.q_norm_D is None else prep.q_norm_D.data_ptr(),
            k_norm=None if prep.k_norm_D is None else prep.k_norm_D.data_ptr(),
            heads=layer.heads,
            kv_heads=layer.kv_heads,
            dim=layer.head_dim,
            eps=prep.eps,
            offset=prep.offset,
        )

    def __call__(self, heads_NI: Tensor, turn: Turn | None, kv: LayerKV | None, slots_N: Tensor) -> Tensor:
        """See `PrepareHeads`; the queries lie in the product."""
        if heads_NI.stride(1) != 1:
            heads_NI = heads_NI.contiguous()
        call, layer = self._call, self._layer
        call.qkv, call.ld = heads_NI.data_ptr(), heads_NI.stride(0)
        call.rows, call.type = heads_NI.shape[0], TYPES[heads_NI.dtype]
        call.cos = call.sin = None
        if turn is not None:
            call.cos, call.sin = turn.cos_NR.data_ptr(), turn.sin_NR.data_ptr()
            call.half = turn.cos_NR.shape[1]
        call.stored = 0
        if kv is not None:
            call.slots, call.stored = slots_N.data_ptr(), slots_N.numel()
            call.k_plane, call.v_plane, call.k_scale, call.v_scale = addresses(kv)
            call.page = kv.planes["k"].shape[2]
        self._run(ctypes.byref(call))
        return heads_NI.as_strided((call.rows, layer.heads, layer.head_dim), (call.ld, layer.head_dim, 1))
