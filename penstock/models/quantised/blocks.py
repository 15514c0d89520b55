"""The block types of GGML that are read: how a row's bytes become codes.

A row is cut into blocks of 32 or 256 inputs; each has its scale within. Sources: ggml's ``ggml-quants.c``.

Legend: O output features, I input features, B blocks of a row, G groups of inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from penstock.kernels.codes import Codes


class Block(NamedTuple):
    """What the bytes of all blocks hold."""

    codes: Tensor
    """uint8 ``[O, B, inputs of a block]``."""
    scales: Tensor
    """``[O, B, groups of a block]``."""
    offsets: Tensor | None
    """Like scales; None where one code means zero."""


class BlockType(NamedTuple):
    """One of GGML's types."""

    nbytes: int
    """Of a block."""
    bits: int
    group: int
    zero: int
    read: Callable[[Tensor], Block]
    """From uint8 ``[O, B, nbytes]``."""


def codes_of(kind: BlockType, bytes_OX: Tensor, dtype: torch.dtype) -> Codes:
    """Return the matrix that uint8 rows of blocks hold."""
    block = kind.read(bytes_OX.unflatten(1, (-1, kind.nbytes)))
    offsets_GO = None if block.offsets is None else block.offsets.flatten(1).T.contiguous()
    return Codes(
        block.codes.flatten(1),
        block.scales.flatten(1).T.contiguous(),
        kind.bits,
        kind.group,
        dtype,
        zero=kind.zero,
        offsets_GO=offsets_GO,
    )


def _half(block: Tensor, at: int) -> Tensor:
    """Return the float16 at a byte of each block, with an axis of one behind."""
    return block[..., at : at + 2].contiguous().view(torch.float16)


def _q8_0(block: Tensor) -> Block:
    # Signed bytes: turning the highest bit adds 128.
    return Block(block[..., 2:] ^ 0x80, _half(block, 0), None)


def _q4_0(block: Tensor) -> Block:
    pairs = block[..., 2:]
    return Block(torch.cat((pairs & 15, pairs >> 4), -1), _half(block, 0), None)


def _q4_k(block: Tensor) -> Block:
    packed, pairs = block[..., 4:16], block[..., 16:].unflatten(-1, (4, 32))
    low, middle, high = packed.split(4, -1)
    # Eight scales and eight offsets of 6 bits: the last four of each have their upper bits with the first.
    scales = torch.cat((low & 63, (high & 15) | (low >> 6 << 4)), -1)
    offsets = torch.cat((middle & 63, (high >> 4) | (middle >> 6 << 4)), -1)
    return Block(
        torch.stack((pairs & 15, pairs >> 4), -2).flatten(-3),
        _half(block, 0).float() * scales,
        _half(block, 2).float() * offsets,
    )


def _q6_k(block: Tensor) -> Block:
    low, high = block[..., :128].unflatten(-1, (2, 2, 32)), block[..., 128:192].unflatten(-1, (2, 1, 32))
    fours = torch.cat((low & 15, low >> 4), -2)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8)[:, None]
    scales = block[..., 192:208].contiguous().view(torch.int8)
    codes = fours | ((high >> shifts & 3) << 4)
    return Block(codes.flatten(-3), _half(block, 208).float() * scales, None)


BLOCK_TYPES = {
    "Q8_0": BlockType(34, 8, 32, 128, _q8_0),
    "Q4_0": BlockType(18, 4, 32, 8, _q4_0),
    "Q4_K": BlockType(144, 4, 32, 0, _q4_k),
    "Q6_K": BlockType(210, 8, 16, 32, _q6_k),
}
"""By GGML's name. Q6_K is what files called Q4_K keep their most delicate matrices in."""
