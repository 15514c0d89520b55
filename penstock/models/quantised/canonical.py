"""From the pieces that all formats share - packed words, zero points, an order of inputs - to `Codes`.

Legend: O output features, I input features, G groups of inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.codes import STEP, Codes


def unpack(words: Tensor, bits: int, dim: int) -> Tensor:
    """Return the uint8 codes of 32-bit words, lowest bits first, strung along ``dim``."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    codes = (words.movedim(dim, -1)[..., None] >> shifts) & (2**bits - 1)
    strung: Tensor = codes.to(torch.uint8).flatten(-2).movedim(-1, dim)
    return strung


def make_codes(
    name: str,
    codes_OI: Tensor,
    scales_GO: Tensor,
    zeros_GO: Tensor | int,
    *,
    bits: int,
    group: int,
    dtype: torch.dtype,
    group_I: Tensor | None = None,
) -> Codes:
    """Return the canonical form of ``scale * (code - zero)``.

    Args:
        name: the matrix's, for errors.
        codes_OI: uint8.
        scales_GO: any float type.
        zeros_GO: codes that mean 0, one for each scale or one for all.
        bits: 8 or 4.
        group: inputs that share a scale; 0 is all.
        dtype: of the matrix that the codes stand for.
        group_I: each input's group, where they do not simply follow one another.

    Raises:
        ConfigError: shapes that do not fit together, or groups that are not of one size.
    """
    outputs, inputs = codes_OI.shape
    group = group or -(-inputs // STEP[bits]) * STEP[bits]
    groups = -(-inputs // group)
    shapes = {"scales": scales_GO.shape}
    if isinstance(zeros_GO, Tensor):
        shapes["zero points"] = zeros_GO.shape
    for what, shape in shapes.items():
        if tuple(shape) != (groups, outputs):
            raise ConfigError(
                "model.model",
                f"the {what} of {name!r} are {'x'.join(map(str, shape))} (groups x outputs), "
                f"expected {groups}x{outputs}",
            )
    order_I = None if group_I is None else _order(name, group_I, group, inputs)
    zero, offsets_GO = zeros_GO, None
    if isinstance(zeros_GO, Tensor):
        zero = int(zeros_GO.flatten()[0])
        if bool((zeros_GO != zero).any()):
            zero, offsets_GO = 0, scales_GO.float() * zeros_GO.float()
    if order_I is not None:
        codes_OI = codes_OI[:, order_I]
    return Codes(
        codes_OI.contiguous(),
        scales_GO.contiguous(),
        bits,
        group,
        dtype,
        zero=int(zero),
        offsets_GO=offsets_GO,
        order_I=order_I,
    )


def _order(name: str, group_I: Tensor, group: int, inputs: int) -> Tensor | None:
    """Return the inputs sorted by group, or None if they are."""
    plain_I = torch.arange(inputs) // group
    if torch.equal(group_I.long(), plain_I):
        return None
    order_I = torch.argsort(group_I.long(), stable=True)
    if group_I.shape != plain_I.shape or not torch.equal(group_I.long()[order_I], plain_I):
        raise ConfigError(
            "model.model", f"the g_idx of {name!r} does not cut its inputs into groups of {group}"
        )
    return order_I
