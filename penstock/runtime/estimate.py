"""How much memory the parts of a model's step take, from its spec alone. Sizes are in bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from penstock.core.errors import ConfigError
from penstock.models.families import ADAPTERS
from penstock.models.spec import MlpSpec, ModelSpec
from penstock.runtime.host import Available
from penstock.runtime.sampler.knobs import BLOCK
from penstock.runtime.sampler.prompts import PROMPT_BLOCK_BYTES

GIB = 2**30
_SCORE_TILE = 256 * 2048
"""Query-key pairs per head that an attention backend scores at once."""
_GATHERED_TOKENS = 32768
"""Keys that an attention backend copies together at once."""
_SAMPLER_COPIES = 6
"""Tensors of 8-byte entries that the sampler keeps of one block of rows."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the sizes depend on, all resolved (no zeros that mean auto)."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    page_size: int


def activation_bytes(spec: ModelSpec, shape: Shape, item: int) -> int:
    """Estimate the most that the tensors of one step take at once.

    The largest block counts: residual stream, a float32 norm, queries, keys and values and their rotated
    copies, float32 attention output, feed-forward input and product; and on top the tiles that attention
    works on.

    Args:
        spec: the model.
        shape: sizes of a step.
        item: bytes per element of the model's dtype.
    """
    per_row, tiles = 0, 0
    context = min(shape.max_num_seqs * shape.max_model_len, _GATHERED_TOKENS)
    for block in spec.blocks:
        layer = block.attention
        heads = layer.heads * layer.head_dim
        qkv = heads + 2 * layer.kv_heads * layer.head_dim
        attention = 2 * qkv * item + heads * (item + 8)
        mlp = block.mlp
        if isinstance(mlp, MlpSpec):
            feed = (3 if mlp.gated else 2) * mlp.width * item
        else:
            feed = 3 * (mlp.top_k * mlp.width + mlp.shared_width) * item + mlp.experts * 8
        per_row = max(per_row, spec.hidden * (3 * item + 4) + max(attention, feed))
        scores = 3 * 4 * layer.heads * min(_SCORE_TILE, shape.max_num_batched_tokens * shape.max_model_len)
        tiles = max(tiles, scores + 2 * context * layer.kv_heads * layer.head_dim * (4 + item))
    return shape.max_num_batched_tokens * per_row + tiles


def logits_bytes(vocab_size: int, shape: Shape, device: str) -> int:
    """Return the most that logits, the sampler's copies and a block of scored prompt rows take at once."""
    logits = vocab_size * shape.max_num_seqs
    block = min(logits, max(BLOCK[device], vocab_size))
    return 2 * 4 * logits + 8 * _SAMPLER_COPIES * block + 3 * PROMPT_BLOCK_BYTES


def weight_bytes(spec: ModelSpec, dtype: torch.dtype) -> int:
    """Return the bytes of a model's weights as ``dtype``, from its description alone."""
    return sum(math.prod(param.shape) for param in ADAPTERS[spec.architecture].params(spec)) * dtype.itemsize


def check_weights(spec: ModelSpec, dtype: torch.dtype, available: Available) -> None:
    """Refuse a model whose weights do not fit, before anything of it is loaded.

    Raises:
        ConfigError: they take more than what is available.
    """
    need = weight_bytes(spec, dtype)
    if need > available.bytes:
        raise ConfigError(
            "model.model",
            f"the weights need {human(need)} as {str(dtype).removeprefix('torch.')}, but only "
            f"{human(available.bytes)} are available ({available.source})",
        )


def human(size: int) -> str:
    """Return a size in binary units, e.g. ``1.50 GiB``."""
    if abs(size) >= GIB:
        return f"{size / GIB:.2f} GiB"
    if abs(size) >= 2**20:
        return f"{size / 2**20:.1f} MiB"
    return f"{size / 1024:.1f} KiB"
