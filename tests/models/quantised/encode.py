"""Writers of quantised checkpoints, straight from the formats' definitions: loops over words and bits.

Each returns the tensors of one matrix, by part, and the matrix that they stand for (float64).
"""

from __future__ import annotations

import torch

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def words(values, bits, dim, order=None):
    """Pack whole numbers into int32, lowest bits first, along ``dim``; short rows end in zeros."""
    values, per = values.movedim(dim, 1).long(), 32 // bits
    rows, count = values.shape
    out = torch.zeros(rows, -(-count // per), dtype=torch.int64)
    for at in range(out.shape[1]):
        for place in range(per):
            column = at * per + (order[place] if order else place)
            if column < count:
                out[:, at] |= values[:, column] << (bits * place)
    out[out >= 2**31] -= 2**32
    return out.int().movedim(1, dim).contiguous()


def draw(outputs, inputs, bits, group, generator, symmetric=False):
    """Return random codes [O, I], scales [O, G] float16 and zero points [O, G], spread as real ones are."""
    groups = -(-inputs // group)
    codes = torch.randint(0, 2**bits, (outputs, inputs), generator=generator)
    scales = ((torch.rand(outputs, groups, generator=generator) + 0.5) * 2 / 2**bits / inputs**0.5).half()
    middle = 2 ** (bits - 1)
    zeros = torch.full((outputs, groups), middle)
    if not symmetric:
        zeros += torch.randint(-middle // 4, middle // 4, (outputs, groups), generator=generator)
        zeros[0, 0] = 0
    return codes, scales, zeros


def _value(codes, scales, zeros, group_of):
    return scales.double()[:, group_of] * (codes.double() - zeros.double()[:, group_of])


def gptq(outputs, inputs, generator, bits=4, group=32, version=1, order=None):
    """GPTQ; ``order`` is the group of each input."""
    codes, scales, zeros = draw(outputs, inputs, bits, group, generator)
    group_of = torch.arange(inputs) // group if order is None else order
    stored = (zeros - 1) % 2**bits if version == 1 else zeros
    parts = {
        "qweight": words(codes.T, bits, 0),
        "qzeros": words(stored.T, bits, 1),
        "scales": scales.T.contiguous(),
        "g_idx": group_of.int(),
    }
    return parts, _value(codes, scales, zeros, group_of)


def awq(outputs, inputs, generator, group=32):
    """AWQ's "gemm" layout."""
    codes, scales, zeros = draw(outputs, inputs, 4, group, generator)
    parts = {
        "qweight": words(codes.T, 4, 1, AWQ_ORDER),
        "qzeros": words(zeros.T, 4, 1, AWQ_ORDER),
        "scales": scales.T.contiguous(),
    }
    return parts, _value(codes, scales, zeros, torch.arange(inputs) // group)


def packed(outputs, inputs, generator, bits=4, group=32, symmetric=True, order=None, scale=torch.bfloat16):
    """compressed-tensors, pack-quantized: signed codes and zero points, stored above -2^(bits - 1)."""
    codes, scales, zeros = draw(outputs, inputs, bits, group or inputs, generator, symmetric)
    scales = scales.to(scale)
    group_of = torch.arange(inputs) // (group or inputs) if order is None else order
    parts = {
        "weight_packed": words(codes, bits, 1),
        "weight_scale": scales,
        "weight_shape": torch.tensor([outputs, inputs]),
    }
    if not symmetric:
        parts["weight_zero_point"] = words(zeros, bits, 0)
    if order is not None:
        parts["weight_g_idx"] = order.int()
    return parts, _value(codes, scales, zeros, group_of)


def int8(outputs, inputs, generator, zeros=False):
    """compressed-tensors, int-quantized: one signed byte a code, one scale an output."""
    codes, scales, points = draw(outputs, inputs, 8, inputs, generator, not zeros)
    parts = {"weight": (codes - 128).to(torch.int8), "weight_scale": scales.float()}
    if zeros:
        parts["weight_zero_point"] = (points - 128).to(torch.int8)
    return parts, _value(codes, scales, points, torch.zeros(inputs, dtype=torch.long))
