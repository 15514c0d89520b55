"""Writers of GGML's blocks, byte by byte as ``ggml-quants.c`` lays them out, from values drawn at random."""

from __future__ import annotations

import struct

import torch


def _numbers(generator, count, below):
    return torch.randint(0, below, (count,), generator=generator).tolist()


def _half(generator, size):
    value = (torch.rand((), generator=generator) + 0.5) * size
    return float(value.half())


def q8_0(generator, size):
    d, codes = _half(generator, size / 128), _numbers(generator, 32, 256)
    return struct.pack("<e32b", d, *(c - 128 for c in codes)), [d * (c - 128) for c in codes]


def q4_0(generator, size):
    d, codes = -_half(generator, size / 8), _numbers(generator, 32, 16)
    packed = bytes(codes[i] | codes[i + 16] << 4 for i in range(16))
    return struct.pack("<e", d) + packed, [d * (c - 8) for c in codes]


def q4_k(generator, size):
    d, dmin = _half(generator, size / 256), _half(generator, size / 48)
    scales, mins, codes = (
        _numbers(generator, 8, 64),
        _numbers(generator, 8, 64),
        _numbers(generator, 256, 16),
    )
    packed = [0] * 12
    for j in range(4):
        packed[j] = scales[j] | (scales[j + 4] >> 4) << 6
        packed[j + 4] = mins[j] | (mins[j + 4] >> 4) << 6
        packed[j + 8] = (scales[j + 4] & 15) | (mins[j + 4] & 15) << 4
    pairs = bytes(codes[c * 64 + i] | codes[c * 64 + 32 + i] << 4 for c in range(4) for i in range(32))
    values = [d * scales[i // 32] * c - dmin * mins[i // 32] for i, c in enumerate(codes)]
    return struct.pack("<ee", d, dmin) + bytes(packed) + pairs, values


def q6_k(generator, size):
    d, codes = _half(generator, size / 1024), _numbers(generator, 256, 64)
    scales = [s - 64 for s in _numbers(generator, 16, 128)]
    low, high = [0] * 128, [0] * 64
    for i, code in enumerate(codes):
        half, place = divmod(i, 128)
        quarter, lane = divmod(place, 32)
        low[half * 64 + quarter % 2 * 32 + lane] |= (code & 15) << (quarter // 2 * 4)
        high[half * 32 + lane] |= (code >> 4) << (2 * quarter)
    values = [d * scales[i // 16] * (c - 32) for i, c in enumerate(codes)]
    return bytes(low) + bytes(high) + struct.pack("<16be", *scales, d), values


BLOCKS = {"Q8_0": (q8_0, 32), "Q4_0": (q4_0, 32), "Q4_K": (q4_k, 256), "Q6_K": (q6_k, 256)}


def matrix(kind, outputs, inputs, generator):
    """Return uint8 rows of blocks, and the float64 matrix that they stand for."""
    make, width = BLOCKS[kind]
    blocks = [make(generator, inputs**-0.5) for _ in range(outputs * inputs // width)]
    raw = torch.frombuffer(bytearray(b"".join(b for b, _ in blocks)), dtype=torch.uint8)
    values = torch.tensor([v for _, row in blocks for v in row], dtype=torch.float64)
    return raw.view(outputs, -1), values.view(outputs, inputs)
