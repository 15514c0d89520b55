"""Counter-based Gumbel noise: a pure function of (seed, position, token id).

The bits come from SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
2014): its output function ``mix`` scrambles all 64 bits (each input bit flips each output bit with
probability near one half) and the sequence ``mix(key + n * GOLDEN)`` passes BigCrush. Here the key of a row
is ``mix`` applied twice, to the seed and then to the position, and n counts token ids. So the noise of a
token does not depend on the batch, on the order of evaluation, or on which other tokens are looked at, and
only 64-bit integer arithmetic modulo 2**64 is used, which gives the same bits on every device. Two given
rows share a stretch of one sequence only if their keys lie within a vocabulary's length of each other:
probability 2**-45 for 2**18 tokens. `tests/runtime/test_noise.py` checks uniformity and independence across
tokens, positions and seeds.

The uniform keeps 52 bits, so the noise lies in [-3.61, 36.74] and its float64 tail is right down to
probabilities of 2**-52. The two logarithms are taken in float64; a last-bit difference between libraries'
logarithms moves a score by 1e-16, which could change an argmax only if two float64 scores were that close.

Legend: R rows, K token ids per row.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
_MUL_1 = 0xBF58476D1CE4E5B9
_MUL_2 = 0x94D049BB133111EB


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def row_keys(seeds_R: NDArray[np.uint64], positions_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the 64-bit key of each (seed, position), as int64 with the same bits."""
    with np.errstate(over="ignore"):
        golden = np.uint64(GOLDEN)
        keys_R = _mix_host(seeds_R.astype(np.uint64) + golden)
        keys_R = _mix_host(keys_R + (positions_R.astype(np.uint64) + np.uint64(1)) * golden)
    return keys_R.view(np.int64)


def _mix_host(x_R: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x_R = (x_R ^ (x_R >> np.uint64(30))) * np.uint64(_MUL_1)
    x_R = (x_R ^ (x_R >> np.uint64(27))) * np.uint64(_MUL_2)
    return x_R ^ (x_R >> np.uint64(31))


def _xor_shift(x: Tensor, shift: int, scratch: Tensor) -> None:
    """``x ^= x >> shift`` with zeros shifted in; int64 shifts copy the sign, so those bits are masked."""
    torch.bitwise_right_shift(x, shift, out=scratch)
    scratch.bitwise_and_((1 << (64 - shift)) - 1)
    x.bitwise_xor_(scratch)


def hash_bits(keys_R1: Tensor, ids_RK: Tensor) -> Tensor:
    """Return 64 pseudorandom bits (int64) for each token id of each row.

    Args:
        keys_R1: int64 ``[R, 1]``, from `row_keys`.
        ids_RK: int64 token ids, ``[R, K]`` or ``[1, K]`` when all rows look at the same ids.
    """
    x_RK = (ids_RK + 1) * _signed(GOLDEN) + keys_R1
    scratch_RK = torch.empty_like(x_RK)
    _xor_shift(x_RK, 30, scratch_RK)
    x_RK.mul_(_signed(_MUL_1))
    _xor_shift(x_RK, 27, scratch_RK)
    x_RK.mul_(_signed(_MUL_2))
    _xor_shift(x_RK, 31, scratch_RK)
    return x_RK


def uniform(keys_R1: Tensor, ids_RK: Tensor) -> Tensor:
    """Return float64 numbers in (0, 1), the same for the same (key, id) whatever the rest of the call."""
    bits_RK = hash_bits(keys_R1, ids_RK)
    bits_RK.bitwise_right_shift_(12).bitwise_and_((1 << 52) - 1)
    return bits_RK.double().add_(0.5).mul_(2.0**-52)


def gumbel(keys_R1: Tensor, ids_RK: Tensor) -> Tensor:
    """Return float64 standard Gumbel noise, ``-log(-log(uniform))``."""
    return uniform(keys_R1, ids_RK).log_().neg_().log_().neg_()
