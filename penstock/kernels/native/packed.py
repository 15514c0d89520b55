"""Weight matrices in the layouts of the CPU kernels.

Legend: O output features, I input features, G groups of inputs, P packed outputs (padded, in the order
in which gate and up of a gated matrix meet).
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from torch import Tensor

from penstock.kernels.codes import Codes
from penstock.kernels.native.library import WeightStruct, library

FORMATS = {"float32": 0, "bfloat16": 1, "u8": 2, "u4": 3}
"""Numbers of ``ps_format``."""
TYPES = {torch.float32: 0, torch.bfloat16: 1}
"""Numbers of ``ps_type`` that activations may have."""


class Packed:
    """A weight matrix, with its bias, as the kernels read it.

    Args:
        weight: float32 or bfloat16 ``[O, I]``, or codes; not needed afterwards.
        bias_O: added to the product.
        gated: the first half of the outputs gates the second; the product has O / 2 columns.
    """

    def __init__(self, weight: Tensor | Codes, bias_O: Tensor | None = None, gated: bool = False) -> None:
        lib, source = library(), weight.codes_OI if isinstance(weight, Codes) else weight
        name = (
            str(source.dtype).removeprefix("torch.") if not isinstance(weight, Codes) else f"u{weight.bits}"
        )
        outputs, inputs = source.shape
        self.shape = torch.Size((outputs, inputs))
        self.gated = gated
        self.outputs = outputs // 2 if gated else outputs
        """Columns of the product."""
        self.struct = WeightStruct(format=FORMATS[name], gated=gated, n=outputs, k=inputs)
        source = source.contiguous()
        size = lib.ps_packed_bytes(self.struct.format, gated, outputs, inputs)
        self.codes = _aligned(size)
        lib.ps_pack(self.struct.format, gated, outputs, inputs, source.data_ptr(), self.codes.data_ptr())
        self.struct.codes = self.codes.data_ptr()
        self._held = [self.codes]
        rows_P = _source_rows(gated, outputs)
        self.order_I = weight.order_I if isinstance(weight, Codes) else None
        """The inputs that the columns stand for, where that is not their own order."""
        if isinstance(weight, Codes):
            self.struct.group, self.struct.zero = weight.group, weight.zero
            self.struct.scales = self._keep(_arranged(weight.scales_GO, rows_P).half())
            if weight.offsets_GO is not None:
                self.struct.offsets = self._keep(_arranged(weight.offsets_GO, rows_P).half())
        if bias_O is not None:
            self.struct.bias = self._keep(_arranged(bias_O.float()[None], rows_P)[0])
        self.pointer = ctypes.byref(self.struct)

    def _keep(self, tensor: Tensor) -> int:
        held = tensor.contiguous()
        self._held.append(held)
        return held.data_ptr()

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and bias."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._held)


def _aligned(size: int) -> Tensor:
    """Return uint8 memory whose start lies on a cache line."""
    memory = torch.empty(size + 63, dtype=torch.uint8)
    skip = -memory.data_ptr() % 64
    return memory[skip : skip + size]


def _source_rows(gated: bool, outputs: int) -> Tensor:
    lib = library()
    rows_P = np.empty(lib.ps_padded_n(gated, outputs), np.int64)
    lib.ps_source_rows(gated, outputs, rows_P.ctypes.data)
    return torch.from_numpy(rows_P)


def _arranged(values_GO: Tensor, rows_P: Tensor) -> Tensor:
    """Put one value per output into the packed order; padding is zero."""
    return torch.where(rows_P < 0, torch.zeros((), dtype=values_GO.dtype), values_GO[:, rows_P.clamp(min=0)])
