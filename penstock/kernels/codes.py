"""Quantised weight matrices, in the one form that every checkpoint is brought to.

Legend: O output features, I input features, G groups of inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

STEP = {8: 4, 4: 8}
"""By bits, the inputs that kernels take at once: groups are multiples of it."""
_FINEST = 16
"""Below this many inputs per scale, scales would take more than the codes are worth."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A quantised matrix ``[O, I]``.

    It stands for ``scale[g, o] * code[o, i] - offset[g, o]`` with ``g = i // group``; the offset is
    ``zero * scale`` where none are given. With an order, column i of the codes is column ``order[i]`` of the
    matrix.
    """

    codes_OI: Tensor
    """uint8, one code each: 0..255 or 0..15 by `bits`."""
    scales_GO: Tensor
    """float16 or wider; compiled kernels keep float16."""
    bits: int
    group: int
    """Inputs that share a scale, a multiple of `STEP`; the last group may hold fewer."""
    dtype: torch.dtype
    """Of the matrix that it stands for."""
    zero: int = 0
    offsets_GO: Tensor | None = None
    """float16 or wider; compiled kernels keep float16."""
    order_I: Tensor | None = None
    """int64, a permutation of the inputs; None is their own order."""

    @property
    def shape(self) -> torch.Size:
        """``[O, I]``."""
        return self.codes_OI.shape

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and offsets."""
        parts = (self.codes_OI, self.scales_GO, self.offsets_GO)
        return sum(part.nbytes for part in parts if part is not None)

    def plain(self) -> Tensor:
        """Return the matrix in its dtype."""
        return self.dequantised().to(self.dtype)

    def to(self, device: torch.device) -> Codes:
        """Return the codes on a device."""
        offsets_GO = None if self.offsets_GO is None else self.offsets_GO.to(device)
        order_I = None if self.order_I is None else self.order_I.to(device)
        return replace(
            self,
            codes_OI=self.codes_OI.to(device),
            scales_GO=self.scales_GO.to(device),
            offsets_GO=offsets_GO,
            order_I=order_I,
        )

    def dequantised(self) -> Tensor:
        """Return the matrix in float32: the reference of what kernels compute with."""
        group_I = torch.arange(self.codes_OI.shape[1], device=self.codes_OI.device) // self.group
        scale_OI = self.scales_GO.float().T[:, group_I]
        if self.offsets_GO is None:
            weight_OI = scale_OI * (self.codes_OI.float() - self.zero)
        else:
            weight_OI = scale_OI * self.codes_OI.float() - self.offsets_GO.float().T[:, group_I]
        if self.order_I is None:
            return weight_OI
        return torch.empty_like(weight_OI).index_copy_(1, self.order_I, weight_OI)

    def rows(self, picked_R: Tensor) -> Codes:
        """Return the codes of some outputs, in the order given."""
        offsets_GO = None if self.offsets_GO is None else self.offsets_GO[:, picked_R]
        return replace(
            self,
            codes_OI=self.codes_OI[picked_R],
            scales_GO=self.scales_GO[:, picked_R],
            offsets_GO=offsets_GO,
        )


def stack(parts: Sequence[Codes]) -> Codes | None:
    """Return matrices stacked along the outputs, without loss, or None where their columns cannot meet.

    Parts of different bits or groups come to the most bits and a group that divides all.
    """
    first = parts[0]
    if any(not _same(part.order_I, first.order_I) for part in parts):
        return None
    bits, group = max(part.bits for part in parts), math.gcd(*(part.group for part in parts))
    if group % STEP[bits] or group < min(_FINEST, first.group):
        return None
    groups = -(-first.shape[1] // group)
    plain = all(part.offsets_GO is None and part.zero == first.zero for part in parts)

    def finer(values_GO: Tensor, part: Codes) -> Tensor:
        return values_GO.repeat_interleave(part.group // group, 0)[:groups]

    return Codes(
        torch.cat([part.codes_OI for part in parts]),
        torch.cat([finer(part.scales_GO, part) for part in parts], 1),
        bits,
        group,
        first.dtype,
        zero=first.zero if plain else 0,
        offsets_GO=None if plain else torch.cat([finer(_offsets(part), part) for part in parts], 1),
        order_I=first.order_I,
    )


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _offsets(part: Codes) -> Tensor:
    return part.scales_GO.float() * part.zero if part.offsets_GO is None else part.offsets_GO


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
