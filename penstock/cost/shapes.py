"""The sizes of a model that its step time and its memory depend on, read from a Hugging Face config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.errors import ConfigError

TWO_MATRICES = frozenset({"opt", "phi", "gpt2", "gpt_neox", "gpt_bigcode", "bloom", "falcon", "starcoder2"})
"""Families whose MLP has an up and a down projection only; the others have a gate beside them."""


class ModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder-only transformer, as far as time and memory are concerned. Parameters are per layer."""

    name: str = "custom"
    layers: int
    hidden: int
    query_heads: int
    kv_heads: int
    head_dim: int
    mlp_params: int = 0
    """Parameters of a layer's dense MLP, shared experts included."""
    vocab: int = 32_000
    tied: bool = False
    """Whether the output head is the embedding."""
    experts: int = 0
    top_k: int = 0
    expert_params: int = 0
    """Parameters of one expert."""
    moe_layers: int = 0
    dense_mlp_params: int = 0
    """Parameters of the MLP of the layers that have no experts, in a model that has both."""
    weight_width: float = 2.0
    """Bytes per parameter."""
    expert_width: float = 0.0
    """Bytes per expert parameter where experts are stored otherwise; 0 takes `weight_width`."""
    kv_width: float = 2.0
    """Bytes per number of the KV cache."""
    window: int = 0
    """Tokens that a sliding-window layer sees; 0 without such layers."""
    window_layers: int = 0

    @property
    def attention_params(self) -> int:
        """Parameters of a layer's query, key, value and output projections."""
        return self.hidden * self.head_dim * 2 * (self.query_heads + self.kv_heads)

    @property
    def head_params(self) -> int:
        """Parameters of the output head."""
        return self.vocab * self.hidden

    @property
    def dense_params(self) -> int:
        """Parameters that every token passes in all layers together, experts and head left out."""
        return (
            self.layers * self.attention_params
            + (self.moe_layers if self.experts else self.layers) * self.mlp_params
            + (self.layers - self.moe_layers if self.experts else 0) * self.dense_mlp_params
        )

    @property
    def active_params(self) -> int:
        """Parameters of the layers that one token passes through; embedding and head left out."""
        return self.dense_params + self.moe_layers * self.top_k * self.expert_params

    @property
    def weight_bytes(self) -> float:
        """Bytes of memory that the weights take."""
        dense = self.dense_params + self.head_params * (1 if self.tied else 2)
        experts = self.moe_layers * self.experts * self.expert_params
        return dense * self.weight_width + experts * (self.expert_width or self.weight_width)

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of KV that one token occupies, all layers together (windows are not cut)."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.kv_width


def _first(config: Mapping[str, Any], *names: str, default: Any = None) -> Any:
    for name in names:
        if config.get(name) is not None:
            return config[name]
    if default is None:
        raise ConfigError("model", f"its config lacks {' or '.join(names)}")
    return default


def from_config(config: Mapping[str, Any], name: str = "", *, weight_width: float = 2.0) -> ModelShape:
    """Read the shape of a model from its ``config.json``.

    Llama, Qwen 2 and 3, Gemma, Phi, OPT, Mixtral, Qwen 3 MoE and gpt-oss, and families spelt like them.

    Args:
        config: the file's contents.
        name: what to call the model; empty takes the config's own name.
        weight_width: bytes per parameter, 2 for bf16.

    Raises:
        ConfigError: a needed entry is missing.
    """
    config = {**config, **config.get("text_config", {})}
    hidden, layers = (
        int(_first(config, "hidden_size", "n_embd")),
        int(_first(config, "num_hidden_layers", "n_layer")),
    )
    heads = int(_first(config, "num_attention_heads", "n_head"))
    inner = int(_first(config, "intermediate_size", "ffn_dim", "n_inner", default=4 * hidden))
    family = str(config.get("model_type", "llama"))
    matrices = 2 if family in TWO_MATRICES else 3
    experts = int(_first(config, "num_local_experts", "num_experts", "n_routed_experts", default=0))
    sparse = _sparse_layers(config, layers) if experts else 0
    shared = int(_first(config, "shared_expert_intermediate_size", default=0))
    quant = config.get("quantization_config") or {}
    kinds = config.get("layer_types") or ()
    windowed = sum(kind == "sliding_attention" for kind in kinds)
    window = int(config.get("sliding_window") or 0) if config.get("use_sliding_window", True) else 0
    return ModelShape(
        name=name or str(config.get("_name_or_path") or family),
        layers=layers,
        hidden=hidden,
        query_heads=heads,
        kv_heads=int(_first(config, "num_key_value_heads", default=heads)),
        head_dim=int(_first(config, "head_dim", default=hidden // heads)),
        mlp_params=matrices * hidden * (shared if experts else inner),
        vocab=int(_first(config, "vocab_size")),
        tied=bool(config.get("tie_word_embeddings", family in ("opt", "gemma", "gemma2", "gemma3_text"))),
        experts=experts,
        top_k=int(_first(config, "num_experts_per_tok", "experts_per_token", default=1)) if experts else 0,
        expert_params=3 * hidden * int(_first(config, "moe_intermediate_size", default=inner))
        if experts
        else 0,
        moe_layers=sparse,
        dense_mlp_params=matrices * hidden * inner if sparse < layers and experts else 0,
        weight_width=weight_width,
        # MXFP4: four bits and a shared eight-bit scale per 32 numbers.
        expert_width=4.25 / 8 if quant.get("quant_method") == "mxfp4" else 0.0,
        window=window if windowed or not kinds else 0,
        window_layers=(windowed or layers if not kinds else windowed) if window else 0,
    )


def _sparse_layers(config: Mapping[str, Any], layers: int) -> int:
    """Layers with experts: every `decoder_sparse_step`-th but those named dense and the first few."""
    step = int(config.get("decoder_sparse_step") or 1)
    dense = set(config.get("mlp_only_layers") or ()) | set(
        range(int(config.get("first_k_dense_replace") or 0))
    )
    return sum(1 for i in range(layers) if i not in dense and (i + 1) % step == 0)
