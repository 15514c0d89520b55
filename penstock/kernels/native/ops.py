"""The dense operations on the CPU kernels: packed weights, fused epilogues, one compute team.

A row's result does not depend on the rows beside it: every sum runs over the inputs in one order. Where an
operation has no kernel, or a tensor is not of a type that the kernels take, other operations do it.

Legend: N rows, I input features, O output features, E hidden size, F feed-forward width, X experts,
K experts per row, H heads, D head dim, R rotary dims.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from penstock.kernels.codes import Codes
from penstock.kernels.native.experts import Experts, alike, grouped
from penstock.kernels.native.library import isa, library
from penstock.kernels.native.packed import TYPES, Packed
from penstock.kernels.ops import Ops, Weight, experts_one_by_one

_ACTS = {"silu": 1, "swish": 1, "gelu_new": 2, "gelu_fast": 2, "gelu_pytorch_tanh": 2, "relu": 3}


class NativeOps:
    """See the module's text.

    Args:
        rest: does what has no kernel.
    """

    name = "native"

    def __init__(self, rest: Ops) -> None:
        self._lib = library()
        self._rest = rest
        self.isa = isa()
        self.layer_norm = rest.layer_norm
        self.activate = rest.activate
        self.gated = rest.gated
        self.route = rest.route
        self.softcap = rest.softcap

    def pack(
        self, weight_OI: Tensor | Codes, bias_O: Tensor | None = None, gated: str | None = None
    ) -> Weight:
        """Return the weight in the kernels' layout, its bias inside."""
        if weight_OI.dtype not in TYPES or (gated is not None and gated not in _ACTS):
            return self._rest.pack(weight_OI, bias_O, gated)
        return Packed(weight_OI, bias_O, gated is not None)

    def bundle(self, weights_X: Sequence[Weight]) -> Sequence[Weight]:
        """See `Ops.bundle`: a table of them for the kernels, if one call can take them all."""
        packed = alike(weights_X)
        return weights_X if packed is None else Experts(packed)

    def linear(
        self,
        x_NI: Tensor,
        weight_OI: Weight,
        bias_O: Tensor | None = None,
        residual_NO: Tensor | None = None,
    ) -> Tensor:
        """See `Ops.linear`."""
        if not isinstance(weight_OI, Packed):
            return self._rest.linear(x_NI, weight_OI, bias_O, residual_NO)
        return self._product(x_NI, weight_OI, residual_NO, 0)

    def gated_linear(self, act: str, x_NI: Tensor, weight_OI: Weight, bias_O: Tensor | None = None) -> Tensor:
        """See `Ops.gated_linear`."""
        if not isinstance(weight_OI, Packed):
            return self._rest.gated_linear(act, x_NI, weight_OI, bias_O)
        return self._product(x_NI, weight_OI, None, _ACTS[act])

    def _product(
        self,
        x_NI: Tensor,
        weight: Packed,
        residual_NO: Tensor | None,
        act: int,
        out: torch.dtype | None = None,
    ) -> Tensor:
        if weight.order_I is not None:
            x_NI = x_NI.index_select(1, weight.order_I)
        if x_NI.stride(-1) != 1:
            x_NI = x_NI.contiguous()
        out_NO = x_NI.new_empty((x_NI.shape[0], weight.outputs), dtype=out)
        if residual_NO is not None and residual_NO.stride(-1) != 1:
            residual_NO = residual_NO.contiguous()
        self._lib.ps_linear(
            weight.pointer,
            x_NI.data_ptr(),
            TYPES[x_NI.dtype],
            x_NI.shape[0],
            x_NI.stride(0),
            out_NO.data_ptr(),
            TYPES[out_NO.dtype],
            weight.outputs,
            None if residual_NO is None else residual_NO.data_ptr(),
            0 if residual_NO is None else residual_NO.stride(0),
            act,
        )
        return out_NO

    def head(self, x_NI: Tensor, weight_OI: Weight) -> Tensor:
        """See `Ops.head`."""
        if not isinstance(weight_OI, Packed):
            return self._rest.head(x_NI, weight_OI)
        return self._product(x_NI, weight_OI, None, 0, torch.float32)

    def lookup(self, ids_N: Tensor, weight_OI: Weight) -> Tensor:
        """See `Ops.lookup`."""
        if not isinstance(weight_OI, Packed):
            return self._rest.lookup(ids_N, weight_OI)
        return weight_OI.rows(ids_N)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
        """See `Ops.rms_norm`."""
        rows, size = x.numel() // x.shape[-1], x.shape[-1]
        if not x.is_contiguous():
            x = x.contiguous()
        if x.dtype not in TYPES or weight.dtype != x.dtype:
            return self._rest.rms_norm(x, weight, eps, offset)
        out = torch.empty_like(x)
        self._lib.ps_rms_norm(
            x.data_ptr(),
            None,
            None,
            weight.data_ptr(),
            eps,
            offset,
            TYPES[x.dtype],
            rows,
            size,
            size,
            out.data_ptr(),
        )
        return out

    def rotate(self, x_NHD: Tensor, cos_NR: Tensor, sin_NR: Tensor) -> Tensor:
        """See `Ops.rotate`."""
        if x_NHD.dtype not in TYPES:
            return self._rest.rotate(x_NHD, cos_NR, sin_NR)
        out_NHD = x_NHD.clone(memory_format=torch.contiguous_format)
        rows, heads, dim = out_NHD.shape
        cos_NR, sin_NR = cos_NR.contiguous(), sin_NR.contiguous()
        self._lib.ps_rotate(
            out_NHD.data_ptr(),
            TYPES[out_NHD.dtype],
            rows,
            heads,
            dim,
            heads * dim,
            cos_NR.data_ptr(),
            sin_NR.data_ptr(),
            cos_NR.shape[1],
        )
        return out_NHD

    def experts(
        self,
        x_NE: Tensor,
        weights_NK: Tensor,
        ids_NK: Tensor,
        gate_up_XFE: Sequence[Weight] | Tensor,
        down_XEF: Sequence[Weight] | Tensor,
        act: str,
    ) -> Tensor:
        """See `Ops.experts`: in one call if both are bundles of one form, else expert by expert."""
        bundled = isinstance(gate_up_XFE, Experts) and isinstance(down_XEF, Experts)
        if bundled and x_NE.dtype in TYPES and act in _ACTS:
            return grouped(x_NE, weights_NK, ids_NK, gate_up_XFE, down_XEF, _ACTS[act])
        return experts_one_by_one(self, x_NE, weights_NK, ids_NK, gate_up_XFE, down_XEF, act)
