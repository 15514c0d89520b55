"""What a decoder is, as data. One adapter per family fills this in; the decoder asks nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from penstock.kernels.layer_spec import LayerSpec

NormSite = Literal["attn_in", "attn_out", "attn_sum", "mlp_in", "mlp_out", "mlp_sum"]
"""Where a block normalises: the input of a sublayer, its output before the residual is added, or the sum."""


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """Rotary position embedding of a group of layers; see `penstock.models.rope`."""

    dim: int
    """Rotated dims of each head, even; the rest of the head passes through."""
    theta: float
    kind: str = "default"
    """default, linear, dynamic, llama3, yarn or longrope."""
    factor: float = 1.0
    original_max: int = 0
    """Context length of pre-training, in tokens; 0 where the kind does not use it."""
    max_position: int = 0
    """The config's ``max_position_embeddings``."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0
    """Multiplies cos and sin."""
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class NormSpec:
    """The norm used throughout a model."""

    kind: Literal["rms", "layer"]
    eps: float
    offset: float = 0.0
    """Added to the weight of an RMS norm (1 in Gemma)."""
    affine: bool = True
    """A layer norm without weight and bias when false."""


@dataclass(frozen=True, slots=True)
class MlpSpec:
    """A dense feed-forward: ``down(act(gate) * up)`` when gated, else ``down(act(up))``."""

    width: int
    act: str
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoeSpec:
    """A mixture of gated feed-forwards; each row takes its top experts by softmax over all of them."""

    experts: int
    top_k: int
    width: int
    act: str
    renormalise: bool
    """Divide the chosen weights by their sum."""
    shared_width: int = 0
    """Width of the expert that every row takes, scaled by its own sigmoid gate; 0: there is none."""


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """One decoder block."""

    attention: LayerSpec
    mlp: MlpSpec | MoeSpec
    rope: int | None = 0
    """Index into `ModelSpec.ropes`; None: no rotary embedding."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A whole decoder. Sizes in elements, lengths in tokens."""

    architecture: str
    """Class name in the config, e.g. ``LlamaForCausalLM``."""
    vocab_size: int
    hidden: int
    blocks: tuple[BlockSpec, ...]
    norm: NormSpec
    norm_sites: frozenset[NormSite]
    max_position: int
    """Longest sequence the model can run."""
    dtype: torch.dtype
    """The checkpoint's own dtype."""
    quantised: bool = False
    """The checkpoint's matrices are codes, which are of no dtype."""
    ropes: tuple[RopeSpec, ...] = ()
    embed_dim: int = 0
    """Width of embedding and output head where it differs from ``hidden`` (projected in and out); else 0."""
    embed_scale: float = 1.0
    learned_positions: int = 0
    """Rows of a learned position table; 0: none."""
    position_offset: int = 0
    """Added to a position before it indexes the learned table."""
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    """RMS norm over each query and key head, before rotation."""
    parallel: bool = False
    """Attention and feed-forward both read the block's input, and are added together."""
    final_norm: bool = True
    tied: bool = False
    """The output head is the embedding."""
    logit_softcap: float | None = None
    eos_ids: tuple[int, ...] = ()
    bos_id: int | None = None
    pad_id: int | None = None

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """Return the attention layers, in order."""
        return tuple(block.attention for block in self.blocks)

    @property
    def width(self) -> int:
        """Return the width of embedding and output head."""
        return self.embed_dim or self.hidden
