"""From the product of an attention layer to its queries, keys and values: norms, rotation, storing.

Legend: N rows, F heads of a row (queries, then keys, then values), H query heads, G KV heads, D head dim,
R rotary pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from penstock.kernels.attention.base import LayerKV
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.ops import Ops

Write = Callable[[LayerKV, Tensor, Tensor, Tensor], None]
"""Stores rows (slots, keys, values) in a layer."""


@dataclass(frozen=True, slots=True)
class HeadPrep:
    """What is done to the heads of a layer before they are stored and attended with."""

    q_norm_D: Tensor | None = None
    """Weight of the RMS norm of each query head, in the heads' dtype; None: no norm."""
    k_norm_D: Tensor | None = None
    eps: float = 0.0
    offset: float = 0.0
    """Added to the weights of the norms."""


class Turn(NamedTuple):
    """Rotation of the rows of a step, by their positions: float32, contiguous."""

    cos_NR: Tensor
    sin_NR: Tensor


class PrepareHeads(Protocol):
    """The preparation of one layer's heads, bound when the model is loaded."""

    def __call__(self, heads_NI: Tensor, turn: Turn | None, kv: LayerKV | None, slots_N: Tensor) -> Tensor:
        """Return the queries ``[N, H, D]``, normed and rotated; store the keys, likewise, and the values.

        Args:
            heads_NI: the product, ``[N, (H + 2G) * D]``; may be overwritten, and the queries may lie in it.
            turn: rotation of the rows; None: none.
            kv: where keys and values go; None: nowhere, the layer borrows them.
            slots_N: where each row goes, contiguous; rows beyond the last slot are padding and not stored.
        """
        ...


@runtime_checkable
class HeadBackend(Protocol):
    """A backend that prepares heads itself, to the bit as the operations beside it would, in one go."""

    def heads(self, layer: LayerSpec, prep: HeadPrep) -> PrepareHeads:
        """Return the preparation of a layer."""
        ...


class Stepwise:
    """Preparation step by step, by whatever operations and way of storing there are: right everywhere.

    Args:
        layer: whose heads.
        prep: what is done to them.
        ops: does it.
        write: stores keys and values.
    """

    def __init__(self, layer: LayerSpec, prep: HeadPrep, ops: Ops, write: Write) -> None:
        self._heads, self._kv_heads, self._dim = layer.heads, layer.kv_heads, layer.head_dim
        self._prep = prep
        self._ops = ops
        self._write = write

    def __call__(self, heads_NI: Tensor, turn: Turn | None, kv: LayerKV | None, slots_N: Tensor) -> Tensor:
        """See `PrepareHeads`."""
        prep, ops, first, last = self._prep, self._ops, self._heads, self._heads + self._kv_heads
        heads_NFD = heads_NI.view(heads_NI.shape[0], last + self._kv_heads, self._dim)
        q_NHD, k_NGD, v_NGD = heads_NFD[:, :first], heads_NFD[:, first:last], heads_NFD[:, last:]
        if prep.q_norm_D is not None:
            q_NHD = ops.rms_norm(q_NHD, prep.q_norm_D, prep.eps, prep.offset)
        if prep.k_norm_D is not None:
            k_NGD = ops.rms_norm(k_NGD, prep.k_norm_D, prep.eps, prep.offset)
        if turn is not None:
            q_NHD, k_NGD = ops.rotate(q_NHD, *turn), ops.rotate(k_NGD, *turn)
        if kv is not None:
            stored = slots_N.numel()
            self._write(kv, slots_N, k_NGD[:stored], v_NGD[:stored])
        return q_NHD
