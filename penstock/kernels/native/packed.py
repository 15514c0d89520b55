"""Weight matrices in the layouts of the CPU kernels.

Legend: O output features, I input features, G groups of inputs, P packed outputs (padded, in the order
in which gate and up of a gated matrix meet), N rows looked up.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from penstock.kernels.codes import Codes
from penstock.kernels.native.library import WeightStruct, library

FORMATS = {"float32": 0, "bfloat16": 1, "u8": 2, "u4": 3}
"""Numbers of ``ps_format``."""
TYPES = {torch.float32: 0, torch.bfloat16: 1}
"""Numbers of ``ps_type`` that activations may have."""
_PLAIN = {0: torch.float32, 1: torch.bfloat16}
"""Formats that hold numbers as they are, and their dtypes."""
ALIGNMENT = 64
"""Where codes begin, in bytes: on a cache line."""


def layout_version() -> int:
    """Return a number that changes with what packing makes of a matrix."""
    return int(library().ps_layout_version())


@dataclass(frozen=True, slots=True)
class Form:
    """What a packed matrix is, beside its numbers."""

    format: int
    """One of `FORMATS`."""
    gated: bool
    """The first half of the outputs gates the second; the product has O / 2 columns."""
    outputs: int
    inputs: int
    group: int = 0
    """Inputs that share a scale; 0 when not quantised."""
    zero: int = 0
    """The code that means 0, where there are no offsets."""

    @property
    def padded(self) -> int:
        """Packed outputs."""
        return int(library().ps_padded_n(self.gated, self.outputs))

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return int(library().ps_packed_bytes(self.format, self.gated, self.outputs, self.inputs))


class Packed:
    """A weight matrix, with its bias, as the kernels read it.

    Args:
        weight: float32 or bfloat16 ``[O, I]``, or codes; not needed afterwards.
        bias_O: added to the product.
        gated: see `Form`.
    """

    def __init__(self, weight: Tensor | Codes, bias_O: Tensor | None = None, gated: bool = False) -> None:
        self._take(*_pack(weight, bias_O, gated))

    @classmethod
    def restored(cls, form: Form, parts: Mapping[str, Tensor]) -> Packed:
        """Return a matrix that was packed before; nothing is copied, so the parts may lie in a mapped file.

        Args:
            form: as it was.
            parts: as they were; codes begin on a multiple of `ALIGNMENT`.

        Raises:
            ValueError: parts that are missing, or of other sizes than the form has.
        """
        groups = -(-form.inputs // form.group) if form.group else 0
        sizes = {"codes": form.nbytes, "scales": groups * form.padded, "offsets": groups * form.padded}
        sizes |= {"bias": form.padded, "order": form.inputs}
        needed = {"codes", "scales"} if form.group else {"codes"}
        if not needed <= set(parts) <= set(sizes) or any(parts[n].numel() != sizes[n] for n in parts):
            raise ValueError(f"parts {sorted(parts)} do not make up a matrix of {form}")
        if parts["codes"].data_ptr() % ALIGNMENT:
            raise ValueError("codes do not begin on a cache line")
        self = cls.__new__(cls)
        self._take(form, parts)
        return self

    def _take(self, form: Form, parts: Mapping[str, Tensor]) -> None:
        self.form, self.gated = form, form.gated
        self.parts = dict(parts)
        """Tensors by what they are: codes, and scales, offsets, bias and order where there are any."""
        self.shape = torch.Size((form.outputs, form.inputs))
        self.outputs = form.outputs // 2 if form.gated else form.outputs
        """Columns of the product."""
        self.order_I = parts.get("order")
        """The inputs that the columns stand for, where that is not their own order."""
        self.struct = WeightStruct(
            format=form.format,
            gated=form.gated,
            n=form.outputs,
            k=form.inputs,
            group=form.group,
            zero=form.zero,
            **{name: part.data_ptr() for name, part in parts.items() if name != "order"},
        )
        self.pointer = ctypes.byref(self.struct)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, offsets and bias."""
        return sum(part.nbytes for name, part in self.parts.items() if name != "order")

    @property
    def has_rows(self) -> bool:
        """Whether `rows` gives back what was packed."""
        return self.form.format in _PLAIN and not self.form.gated

    def rows(self, ids_N: Tensor) -> Tensor:
        """Return some rows, ``[N, I]``, bit for bit as they were packed.

        Args:
            ids_N: int64.

        Raises:
            IndexError: an id that is no row.
            TypeError: a matrix that does not hold its rows as they were (see `has_rows`).
        """
        if not self.has_rows:
            raise TypeError("a quantised or gated matrix does not hold its rows as they were")
        ids_N, inputs = ids_N.contiguous(), self.form.inputs
        out_NI = torch.empty(len(ids_N), inputs, dtype=_PLAIN[self.form.format])
        if library().ps_embed(self.pointer, ids_N.data_ptr(), len(ids_N), out_NI.data_ptr(), inputs):
            raise IndexError(f"expected rows 0 to {self.form.outputs - 1}, got one beyond")
        return out_NI


def _pack(weight: Tensor | Codes, bias_O: Tensor | None, gated: bool) -> tuple[Form, dict[str, Tensor]]:
    source = (weight.codes_OI if isinstance(weight, Codes) else weight).contiguous()
    name = f"u{weight.bits}" if isinstance(weight, Codes) else str(source.dtype).removeprefix("torch.")
    group, zero = (weight.group, weight.zero) if isinstance(weight, Codes) else (0, 0)
    outputs, inputs = source.shape
    form = Form(FORMATS[name], gated, outputs, inputs, group, zero)
    codes = _aligned(form.nbytes)
    library().ps_pack(form.format, gated, form.outputs, form.inputs, source.data_ptr(), codes.data_ptr())
    parts, rows_P = {"codes": codes}, _source_rows(form)
    if isinstance(weight, Codes):
        parts["scales"] = _arranged(weight.scales_GO, rows_P).half()
        if weight.offsets_GO is not None:
            parts["offsets"] = _arranged(weight.offsets_GO, rows_P).half()
        if weight.order_I is not None:
            parts["order"] = weight.order_I
    if bias_O is not None:
        parts["bias"] = _arranged(bias_O.float()[None], rows_P)[0]
    return form, {name: part.contiguous() for name, part in parts.items()}


def _aligned(size: int) -> Tensor:
    """Return uint8 memory whose start lies on a cache line."""
    memory = torch.empty(size + ALIGNMENT - 1, dtype=torch.uint8)
    skip = -memory.data_ptr() % ALIGNMENT
    return memory[skip : skip + size]


def _source_rows(form: Form) -> Tensor:
    rows_P = np.empty(form.padded, np.int64)
    library().ps_source_rows(form.gated, form.outputs, rows_P.ctypes.data)
    return torch.from_numpy(rows_P)


def _arranged(values_GO: Tensor, rows_P: Tensor) -> Tensor:
    """Put one value per output into the packed order; padding is zero."""
    return torch.where(rows_P < 0, torch.zeros((), dtype=values_GO.dtype), values_GO[:, rows_P.clamp(min=0)])
