"""The dense operations of a decoder, behind one protocol, and their plain torch form.

Legend: N rows, I input features, O output features, E hidden size, F feed-forward width, X experts,
K experts per row, H heads, D head dim, R rotary dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from penstock.kernels.codes import Codes


class PackedWeight(Protocol):
    """A weight matrix in a layout that only the operations that made it understand; it holds its bias."""

    shape: torch.Size
    """``[O, I]``."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        ...

    @property
    def has_rows(self) -> bool:
        """Whether `Ops.lookup` finds its rows as they were before packing."""
        ...


Weight = Tensor | PackedWeight
"""A weight matrix: as the checkpoint has it, or packed by `Ops.pack`."""


class Ops(Protocol):
    """Operations over the rows of a step. A row's result may depend on nothing but the row."""

    name: str

    def pack(
        self, weight_OI: Tensor | Codes, bias_O: Tensor | None = None, gated: str | None = None
    ) -> Weight:
        """Return a weight in the form that these operations like best; once, when a model is loaded.

        Args:
            weight_OI: as the checkpoint has it, or quantised.
            bias_O: its bias, which is passed to `linear` all the same.
            gated: the activation, if it is a gate above up that only `gated_linear` will take.
        """
        ...

    def bundle(self, weights_X: Sequence[Weight]) -> Sequence[Weight]:
        """Return the packed matrices of a layer's experts in the form that `experts` likes best; once."""
        ...

    def linear(
        self, x_NI: Tensor, weight_OI: Weight, bias_O: Tensor | None = None, residual_NO: Tensor | None = None
    ) -> Tensor:
        """Return ``residual + (x @ weight.T + bias)``, ``[N, O]``."""
        ...

    def gated_linear(self, act: str, x_NI: Tensor, weight_OI: Weight, bias_O: Tensor | None = None) -> Tensor:
        """Return `gated` of `linear`, ``[N, O / 2]``."""
        ...

    def head(self, x_NI: Tensor, weight_OI: Weight) -> Tensor:
        """Return ``x @ weight.T`` in float32: logits."""
        ...

    def lookup(self, ids_N: Tensor, weight_OI: Weight) -> Tensor:
        """Return rows of a weight, ``[N, I]``: embeddings.

        Raises:
            IndexError: an id that is no row.
        """
        ...

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
        """Return ``x / rms(x) * (weight + offset)`` over the last axis, in x's dtype, computed in float32."""
        ...

    def layer_norm(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """Return the affine layer norm over the last axis."""
        ...

    def activate(self, name: str, x: Tensor) -> Tensor:
        """Apply the activation of that Hugging Face name; see `ACTIVATIONS`."""
        ...

    def gated(self, name: str, gate_up: Tensor) -> Tensor:
        """Split the last axis into gate and up, and return ``act(gate) * up``."""
        ...

    def rotate(self, x_NHD: Tensor, cos_NR: Tensor, sin_NR: Tensor) -> Tensor:
        """Rotate the first 2R dims of each head by half pairs (i, i + R); the rest passes through.

        Args:
            x_NHD: queries or keys.
            cos_NR: float32 cosines of the row's position, one per pair.
            sin_NR: float32 sines.
        """
        ...

    def route(self, logits_NX: Tensor, top_k: int, renormalise: bool) -> tuple[Tensor, Tensor]:
        """Return the weights (float32) and ids of each row's top experts by softmax, both ``[N, K]``."""
        ...

    def experts(
        self,
        x_NE: Tensor,
        weights_NK: Tensor,
        ids_NK: Tensor,
        gate_up_XFE: Sequence[Weight] | Tensor,
        down_XEF: Sequence[Weight] | Tensor,
        act: str,
    ) -> Tensor:
        """Return for each row the weighted sum of its experts' gated feed-forward outputs, ``[N, E]``.

        ``gate_up_XFE`` stacks gate and up along its second axis (2F rows).
        """
        ...

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        """Return ``cap * tanh(x / cap)``."""
        ...


ACTIVATIONS = ("silu", "swish", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "sigmoid")
"""Activations a config may name. The three tanh forms of gelu are one function."""


def activation(name: str, x: Tensor) -> Tensor:
    """Apply the activation called ``name``.

    Raises:
        ValueError: not one of `ACTIVATIONS`.
    """
    if name in ("silu", "swish"):
        return F.silu(x)
    if name == "gelu":
        return F.gelu(x)
    if name in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh"):
        return F.gelu(x, approximate="tanh")
    if name == "relu":
        return F.relu(x)
    if name == "sigmoid":
        return torch.sigmoid(x)
    raise ValueError(f"unknown activation {name!r}; expected one of {', '.join(ACTIVATIONS)}")


def rotate_half_pairs(x_NHD: Tensor, cos_NR: Tensor, sin_NR: Tensor) -> Tensor:
    """Rotary embedding (Su et al., 2021) in the half-split pairing that Hugging Face checkpoints use."""
    half = cos_NR.shape[-1]
    cos_N1R, sin_N1R = cos_NR[:, None], sin_NR[:, None]
    first, second = x_NHD[..., :half].float(), x_NHD[..., half : 2 * half].float()
    out_NHD = torch.empty_like(x_NHD)
    out_NHD[..., :half] = first * cos_N1R - second * sin_N1R
    out_NHD[..., half : 2 * half] = second * cos_N1R + first * sin_N1R
    if 2 * half < x_NHD.shape[-1]:
        out_NHD[..., 2 * half :] = x_NHD[..., 2 * half :]
    return out_NHD


class TorchOps:
    """Plain torch: right everywhere, as fast as the installed BLAS."""

    name = "torch"

    def pack(
        self, weight_OI: Tensor | Codes, bias_O: Tensor | None = None, gated: str | None = None
    ) -> Weight:
        """Return the weight as it is, or what codes stand for."""
        return weight_OI.dequantised().to(weight_OI.dtype) if isinstance(weight_OI, Codes) else weight_OI

    def bundle(self, weights_X: Sequence[Weight]) -> Sequence[Weight]:
        """Return them as they are."""
        return weights_X

    def linear(
        self, x_NI: Tensor, weight_OI: Weight, bias_O: Tensor | None = None, residual_NO: Tensor | None = None
    ) -> Tensor:
        """See `Ops.linear`."""
        assert isinstance(weight_OI, Tensor)
        out_NO = F.linear(x_NI, weight_OI, bias_O)
        return out_NO if residual_NO is None else residual_NO + out_NO

    def gated_linear(self, act: str, x_NI: Tensor, weight_OI: Weight, bias_O: Tensor | None = None) -> Tensor:
        """See `Ops.gated_linear`."""
        return self.gated(act, self.linear(x_NI, weight_OI, bias_O))

    def head(self, x_NI: Tensor, weight_OI: Weight) -> Tensor:
        """See `Ops.head`."""
        return self.linear(x_NI, weight_OI).float()

    def lookup(self, ids_N: Tensor, weight_OI: Weight) -> Tensor:
        """See `Ops.lookup`."""
        assert isinstance(weight_OI, Tensor)
        return weight_OI.index_select(0, ids_N)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
        """See `Ops.rms_norm` (Zhang and Sennrich, 2019)."""
        x32 = x.float()
        normed = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
        if offset:
            return (normed * (weight.float() + offset)).to(x.dtype)
        return weight * normed.to(x.dtype)

    def layer_norm(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """See `Ops.layer_norm`."""
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def activate(self, name: str, x: Tensor) -> Tensor:
        """See `Ops.activate`."""
        return activation(name, x)

    def gated(self, name: str, gate_up: Tensor) -> Tensor:
        """See `Ops.gated`."""
        gate, up = gate_up.chunk(2, dim=-1)
        return activation(name, gate) * up

    def rotate(self, x_NHD: Tensor, cos_NR: Tensor, sin_NR: Tensor) -> Tensor:
        """See `Ops.rotate`."""
        return rotate_half_pairs(x_NHD, cos_NR, sin_NR)

    def route(self, logits_NX: Tensor, top_k: int, renormalise: bool) -> tuple[Tensor, Tensor]:
        """See `Ops.route`."""
        probs_NX = torch.softmax(logits_NX.float(), dim=-1)
        weights_NK, ids_NK = torch.topk(probs_NX, top_k, dim=-1)
        if renormalise:
            weights_NK = weights_NK / weights_NK.sum(dim=-1, keepdim=True)
        return weights_NK, ids_NK

    def experts(
        self,
        x_NE: Tensor,
        weights_NK: Tensor,
        ids_NK: Tensor,
        gate_up_XFE: Sequence[Weight] | Tensor,
        down_XEF: Sequence[Weight] | Tensor,
        act: str,
    ) -> Tensor:
        """See `Ops.experts`."""
        return experts_one_by_one(self, x_NE, weights_NK, ids_NK, gate_up_XFE, down_XEF, act)

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        """See `Ops.softcap`."""
        return cap * torch.tanh(x / cap)


def experts_one_by_one(
    ops: Ops,
    x_NE: Tensor,
    weights_NK: Tensor,
    ids_NK: Tensor,
    gate_up_XFE: Sequence[Weight] | Tensor,
    down_XEF: Sequence[Weight] | Tensor,
    act: str,
) -> Tensor:
    """See `Ops.experts`. Rows are sorted by expert, so that each expert in use runs one pair of products."""
    top_k = ids_NK.shape[1]
    order = torch.argsort(ids_NK.flatten(), stable=True)
    counts = torch.bincount(ids_NK.flatten(), minlength=len(gate_up_XFE)).tolist()
    out_PE = torch.empty(order.numel(), x_NE.shape[1], dtype=x_NE.dtype, device=x_NE.device)
    start = 0
    for expert, count in enumerate(counts):
        if count:
            pairs = order[start : start + count]
            hidden_MF = ops.gated_linear(act, x_NE[pairs // top_k], gate_up_XFE[expert])
            out_PE[pairs] = ops.linear(hidden_MF, down_XEF[expert])
            start += count
    return combine_experts(out_PE, weights_NK)


def combine_experts(out_PE: Tensor, weights_NK: Tensor) -> Tensor:
    """Weigh and sum the K outputs of each row, in the order of its ranking (never in arrival order)."""
    out_NKE = out_PE.view(*weights_NK.shape, out_PE.shape[-1])
    total_NE = out_NKE[:, 0].float() * weights_NK[:, 0, None]
    for rank in range(1, weights_NK.shape[1]):
        total_NE = total_NE + out_NKE[:, rank].float() * weights_NK[:, rank, None]
    return total_NE.to(out_PE.dtype)
