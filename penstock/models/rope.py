"""Rotary frequencies of every scaling, and tables of their cosines and sines.

Transformers picks some frequencies by the current length of a sequence (dynamic, longrope). A cached key is
rotated once, and a prefix is shared by sequences of all lengths, so here a frequency depends on nothing but
the context length that the engine is started for:

- dynamic: the unscaled frequencies up to the model's own length, the stretched ones of the engine's
  context length if that is longer;
- longrope: the short factors if the engine's context fits the original length, else the long ones.

Legend: P positions, R rotary pairs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from penstock.kernels.heads import Turn
from penstock.models.spec import RopeSpec

KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")
_TABLE_STEP = 4096
"""Positions per computed piece: all pieces have one shape, so no entry depends on how far a table reaches."""


def inverse_frequencies(rope: RopeSpec, context: int) -> Tensor:
    """Return float32 radians per token of each pair, ``[R]``.

    Args:
        rope: the scaling.
        context: longest sequence that the engine will run, in tokens.

    Raises:
        ValueError: unknown kind.
    """
    exponent_R = torch.arange(0, rope.dim, 2, dtype=torch.int64).float() / rope.dim
    if rope.kind == "dynamic":
        # NTK-aware interpolation: stretch the base so that the longest context fits (Peng et al., 2023).
        stretch = rope.factor * max(context, rope.max_position) / rope.max_position - (rope.factor - 1)
        base = rope.theta * stretch ** (rope.dim / (rope.dim - 2))
        return torch.reciprocal(base**exponent_R)
    plain_R: Tensor = 1.0 / (rope.theta**exponent_R)
    if rope.kind == "default":
        return plain_R
    if rope.kind == "linear":
        return plain_R / rope.factor
    if rope.kind == "llama3":
        return _llama3(rope, plain_R)
    if rope.kind == "yarn":
        return _yarn(rope, plain_R)
    if rope.kind == "longrope":
        # Ding et al., 2024: one factor per pair, found by search.
        factors = rope.long_factor if context > rope.original_max else rope.short_factor
        return 1.0 / (torch.tensor(factors, dtype=torch.float32) * rope.theta**exponent_R)
    raise ValueError(f"unknown rope kind {rope.kind!r}; expected one of {', '.join(KINDS)}")


def _llama3(rope: RopeSpec, plain_R: Tensor) -> Tensor:
    """Llama 3.1: slow pairs divided by the factor, fast ones kept, a linear blend between (Meta, 2024)."""
    turns_R = rope.original_max * plain_R / (2 * math.pi)
    keep_R = (turns_R - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    keep_R = keep_R.clamp(0.0, 1.0)
    return plain_R / rope.factor * (1 - keep_R) + plain_R * keep_R


def _yarn(rope: RopeSpec, plain_R: Tensor) -> Tensor:
    """YaRN (Peng et al., 2023): interpolate pairs that turn seldom, keep those that turn often."""

    def pair_that_turns(times: float) -> float:
        return rope.dim * math.log(rope.original_max / (times * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = pair_that_turns(rope.beta_fast), pair_that_turns(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dim - 1)
    width = high - low if high != low else 0.001
    blend_R = ((torch.arange(rope.dim // 2, dtype=torch.float32) - low) / width).clamp(0, 1)
    return plain_R / rope.factor * blend_R + plain_R * (1 - blend_R)


def yarn_attention_factor(factor: float, mscale: float | None, mscale_all_dim: float | None) -> float:
    """Return YaRN's default scale of cos and sin: ``0.1 ln(factor) + 1``, or the ratio of two such scales."""

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if mscale and mscale_all_dim:
        return scale(mscale) / scale(mscale_all_dim)
    return scale(1.0)


def longrope_attention_factor(factor: float, original_max: int) -> float:
    """Return LongRoPE's default scale of cos and sin."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original_max))


class RopeTable:
    """Cosines and sines by position, float32, computed as far as they were needed.

    Args:
        rope: the scaling.
        context: longest sequence, in tokens; no table reaches farther.
        device: where the tables live. Off the CPU the whole table is made at once, so that its address is
            constant and a captured graph may read it.
    """

    def __init__(self, rope: RopeSpec, context: int, device: torch.device) -> None:
        self._frequencies_R = inverse_frequencies(rope, context)
        self._scale = rope.attention_factor
        self._context = context
        self._device = device
        self._cos_PR = torch.empty(0, rope.dim // 2, device=device)
        self._sin_PR = torch.empty(0, rope.dim // 2, device=device)
        self.reach(1 if device.type == "cpu" else context)

    def reach(self, length: int) -> None:
        """Make sure that positions below ``length`` are in the tables."""
        have = self._cos_PR.shape[0]
        if length <= have:
            return
        # Double, so that a growing sequence copies the table a logarithmic number of times.
        goal = min(max(length, 2 * have), max(self._context, length))
        pieces_cos, pieces_sin = [self._cos_PR], [self._sin_PR]
        while have < goal:
            angle_PR = torch.arange(have, have + _TABLE_STEP).float()[:, None] * self._frequencies_R
            pieces_cos.append((angle_PR.cos() * self._scale).to(self._device))
            pieces_sin.append((angle_PR.sin() * self._scale).to(self._device))
            have += _TABLE_STEP
        self._cos_PR, self._sin_PR = torch.cat(pieces_cos), torch.cat(pieces_sin)

    def at(self, positions_N: Tensor) -> Turn:
        """Return cos and sin of the positions; call `reach` first."""
        return Turn(self._cos_PR.index_select(0, positions_N), self._sin_PR.index_select(0, positions_N))

    def nbytes(self) -> int:
        """Return the bytes the tables take now."""
        return 2 * self._cos_PR.numel() * self._cos_PR.element_size()
