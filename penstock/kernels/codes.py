"""Quantised weight matrices, in the one form that every checkpoint is brought to.

Legend: O output features, I input features, G groups of inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEP = {8: 4, 4: 8}
"""By bits, the inputs that kernels take at once: groups are multiples of it."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A quantised matrix ``[O, I]``.

    It stands for ``scale[g, o] * code[o, i] - offset[g, o]`` with ``g = i // group``; the offset is
    ``zero * scale`` where none are given.
    """

    codes_OI: Tensor
    """uint8, one code each: 0..255 or 0..15 by `bits`."""
    scales_GO: Tensor
    """float16."""
    bits: int
    group: int
    """Inputs that share a scale, a multiple of `STEP`; the last group may hold fewer."""
    dtype: torch.dtype
    """Of the matrix that it stands for."""
    zero: int = 0
    offsets_GO: Tensor | None = None
    """float16."""

    def dequantised(self) -> Tensor:
        """Return the matrix in float32: the reference of what kernels compute with."""
        group_I = torch.arange(self.codes_OI.shape[1]) // self.group
        scale_OI = self.scales_GO.float().T[:, group_I]
        if self.offsets_GO is None:
            return scale_OI * (self.codes_OI.float() - self.zero)
        return scale_OI * self.codes_OI.float() - self.offsets_GO.float().T[:, group_I]


def round_to_nearest(weight_OI: Tensor, bits: int, group: int = 0) -> Codes:
    """Quantise by rounding each weight to the nearest code of its group.

    8 bits are symmetric around zero; 4 bits span from the least to the largest weight of the group, with zero
    always within.

    Args:
        weight_OI: any float type.
        bits: 8 or 4.
        group: inputs that share a scale; 0 is all of them.
    """
    outputs, inputs = weight_OI.shape
    step = STEP[bits]
    group = group or -(-inputs // step) * step
    groups = -(-inputs // group)
    padded_OI = weight_OI.new_zeros(outputs, groups * group, dtype=torch.float32)
    padded_OI[:, :inputs] = weight_OI
    cells_OGX = padded_OI.view(outputs, groups, group)
    if bits == 8:
        scale_OG = (cells_OGX.abs().amax(2) / 127).half().float()
        codes_OGX = (cells_OGX / _nonzero(scale_OG)[..., None]).round().clamp(-127, 127) + 128
        offset_OG = None
    else:
        low_OG, high_OG = cells_OGX.amin(2).clamp(max=0), cells_OGX.amax(2).clamp(min=0)
        scale_OG = ((high_OG - low_OG) / 15).half().float()
        offset_OG = (-low_OG).half()
        codes_OGX = (cells_OGX + offset_OG.float()[..., None]) / _nonzero(scale_OG)[..., None]
        codes_OGX = codes_OGX.round().clamp(0, 15)
    return Codes(
        codes_OGX.to(torch.uint8).view(outputs, -1)[:, :inputs].contiguous(),
        scale_OG.half().T.contiguous(),
        bits,
        group,
        weight_OI.dtype,
        zero=128 if bits == 8 else 0,
        offsets_GO=None if offset_OG is None else offset_OG.T.contiguous(),
    )


def _nonzero(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, torch.ones_like(scale), scale)
