"""A layer's experts as the CPU kernels take them: all their products in one call.

Legend: N rows, E hidden size, F feed-forward width, X experts, K experts per row.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import overload

import torch
from torch import Tensor

from penstock.kernels.native.library import WeightStruct, library
from penstock.kernels.native.packed import TYPES, Packed
from penstock.kernels.ops import Weight


class Experts(Sequence[Packed]):
    """One matrix of each expert of a layer, packed, of one size and format; it does not change.

    Args:
        weights: see `alike`.
    """

    def __init__(self, weights: Sequence[Packed]) -> None:
        self._weights = tuple(weights)
        first = self._weights[0]
        self.inputs, self.outputs, self.gated = first.shape[1], first.outputs, first.gated
        """Columns of a matrix, of its product, and whether one half of the outputs gates the other."""
        pointers = [ctypes.pointer(weight.struct) for weight in self._weights]
        self.table = (ctypes.POINTER(WeightStruct) * len(pointers))(*pointers)
        """``ps_weight* [X]``."""

    @overload
    def __getitem__(self, index: int) -> Packed: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Packed]: ...
    def __getitem__(self, index: int | slice) -> Packed | Sequence[Packed]:
        return self._weights[index]

    def __len__(self) -> int:
        return len(self._weights)

    def __iter__(self) -> Iterator[Packed]:
        return iter(self._weights)


def alike(weights: Sequence[Weight]) -> list[Packed] | None:
    """Return the weights if one call can take them: packed, of one form, inputs in order; else None."""
    packed = [weight for weight in weights if isinstance(weight, Packed) and weight.order_I is None]
    forms = {(w.shape, w.gated, w.struct.format, w.struct.group) for w in packed}
    return packed if len(packed) == len(weights) and len(forms) == 1 else None


def grouped(
    x_NE: Tensor, weights_NK: Tensor, ids_NK: Tensor, gate_up: Experts, down: Experts, act: int
) -> Tensor:
    """See `Ops.experts`; each expert in use is read once for all its rows.

    Args:
        x_NE: float32 or bfloat16.
        weights_NK: any float type.
        ids_NK: any integer type.
        gate_up: of F outputs, gated.
        down: of E outputs.
        act: the activation's number in ``ps_act``.

    Raises:
        IndexError: an id is none of an expert.
        ValueError: sizes do not fit together.
    """
    rows, hidden = x_NE.shape
    fit = (gate_up.inputs, gate_up.gated, down.inputs, down.outputs, down.gated, len(down))
    if fit != (hidden, True, gate_up.outputs, hidden, False, len(gate_up)) or not (
        weights_NK.shape == ids_NK.shape and len(ids_NK) == rows
    ):
        raise ValueError(
            f"rows {tuple(x_NE.shape)}, weights {tuple(weights_NK.shape)} and ids {tuple(ids_NK.shape)} "
            f"do not fit {len(gate_up)} experts {tuple(gate_up[0].shape)} "
            f"and {len(down)} {tuple(down[0].shape)}"
        )
    if x_NE.stride(1) != 1:
        x_NE = x_NE.contiguous()
    weights_NK, ids_NK = weights_NK.float().contiguous(), ids_NK.long().contiguous()
    out_NE = torch.empty((rows, hidden), dtype=x_NE.dtype)
    status = library().ps_experts(
        gate_up.table,
        down.table,
        len(gate_up),
        x_NE.data_ptr(),
        TYPES[x_NE.dtype],
        rows,
        x_NE.stride(0),
        weights_NK.data_ptr(),
        ids_NK.data_ptr(),
        ids_NK.shape[1],
        out_NE.data_ptr(),
        act,
    )
    if status:
        raise IndexError(f"a row's ids are none of {len(gate_up)} experts, or there are none")
    return out_NE
