"""Tiny random models of every family, saved by transformers: the oracle and the input of parity tests.

``FAMILIES[name]()`` is a config; ``make_model(name, folder)`` saves a checkpoint there and returns the
transformers model. Sizes are odd on purpose: head dims that are no power of two, groups of 1 to 5, windows
shorter than the texts, and weights wide enough that logits are not flat.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf

VOCAB = 131
"""Token ids are 0..130 in every family."""
MAX_POSITION = 512
WINDOW = 13


def _sizes(hidden: int, heads: int, kv_heads: int, layers: int = 3, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": MAX_POSITION,
        "initializer_range": 0.15,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **more,
    }


def _llama(**more: Any) -> tf.PretrainedConfig:
    return tf.LlamaConfig(**_sizes(48, 6, 2, head_dim=16, intermediate_size=72) | more)


def _rope(kind: str, **fields: Any) -> tf.PretrainedConfig:
    return _llama(rope_parameters={"rope_type": kind, "rope_theta": 10000.0, **fields})


def _mistral() -> tf.PretrainedConfig:
    return tf.MistralConfig(**_sizes(40, 4, 1, intermediate_size=56, sliding_window=WINDOW))


def _qwen2(**more: Any) -> tf.PretrainedConfig:
    return tf.Qwen2Config(**_sizes(60, 5, 1, intermediate_size=80, tie_word_embeddings=True) | more)


def _qwen2_window() -> tf.PretrainedConfig:
    # The first layer is full, the others see a window.
    return _qwen2(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1)


def _qwen3() -> tf.PretrainedConfig:
    return tf.Qwen3Config(**_sizes(48, 4, 2, head_dim=24, intermediate_size=64))


def _gemma2() -> tf.PretrainedConfig:
    return tf.Gemma2Config(
        **_sizes(48, 4, 2, layers=4, head_dim=20, intermediate_size=64, sliding_window=WINDOW),
        query_pre_attn_scalar=24,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=8.0,
    )


def _gemma3() -> tf.PretrainedConfig:
    return tf.Gemma3TextConfig(
        **_sizes(48, 4, 1, layers=4, head_dim=16, intermediate_size=64, sliding_window=WINDOW),
        query_pre_attn_scalar=20,
        layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 50000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
        },
    )


def _phi3(**more: Any) -> tf.PretrainedConfig:
    sizes = _sizes(48, 4, 4, intermediate_size=64, sliding_window=WINDOW)
    return tf.Phi3Config(**sizes | {"original_max_position_embeddings": MAX_POSITION} | more)


def _phi3_longrope() -> tf.PretrainedConfig:
    # Half of each head of 16 is rotated: 4 pairs. The engine runs at 512 > 64, so the long factors hold.
    return _phi3(
        num_attention_heads=3,
        num_key_value_heads=3,
        sliding_window=None,
        original_max_position_embeddings=64,
        partial_rotary_factor=0.5,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "short_factor": [1.0, 1.1, 1.3, 1.6],
            "long_factor": [1.0, 2.0, 4.0, 8.0],
        },
    )


def _opt(**more: Any) -> tf.PretrainedConfig:
    sizes = _sizes(48, 6, 6, ffn_dim=70, init_std=0.15)
    return tf.OPTConfig(**sizes | more)


def _opt_post() -> tf.PretrainedConfig:
    return _opt(do_layer_norm_before=False, word_embed_proj_dim=32)


def _neox(**more: Any) -> tf.PretrainedConfig:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
    return tf.GPTNeoXConfig(**_sizes(64, 4, 4, intermediate_size=96, rope_parameters=rope) | more)


def _mixtral() -> tf.PretrainedConfig:
    sizes = _sizes(40, 4, 2, intermediate_size=48, sliding_window=WINDOW)
    return tf.MixtralConfig(**sizes, num_local_experts=5, num_experts_per_tok=2)


def _qwen2_moe() -> tf.PretrainedConfig:
    # Layers 0 and 2 are dense by the sparse step, layer 3 by name: only layer 1 is a mixture.
    return tf.Qwen2MoeConfig(
        **_sizes(48, 4, 2, layers=4, intermediate_size=64),
        moe_intermediate_size=24,
        shared_expert_intermediate_size=40,
        num_experts=6,
        num_experts_per_tok=3,
        decoder_sparse_step=2,
        mlp_only_layers=[3],
    )


def _qwen3_moe() -> tf.PretrainedConfig:
    return tf.Qwen3MoeConfig(
        **_sizes(40, 6, 2, head_dim=12, intermediate_size=64),
        moe_intermediate_size=32,
        num_experts=8,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        mlp_only_layers=[0],
    )


FAMILIES: dict[str, Callable[[], tf.PretrainedConfig]] = {
    "llama": _llama,
    "llama-bias": lambda: _llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "llama-linear": lambda: _rope("linear", factor=4.0),
    "llama-dynamic": lambda: _rope("dynamic", factor=2.0),
    "llama-llama3": lambda: _rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
    ),
    "llama-yarn": lambda: _rope("yarn", factor=4.0, original_max_position_embeddings=128),
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen2-window": _qwen2_window,
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "phi3-longrope": _phi3_longrope,
    "opt": _opt,
    "opt-post": _opt_post,
    "gpt-neox": _neox,
    "gpt-neox-serial": lambda: _neox(use_parallel_residual=False),
    "mixtral": _mixtral,
    "qwen2-moe": _qwen2_moe,
    "qwen3-moe": _qwen3_moe,
}
"""Family (or variant of one) -> a tiny config of it."""

LONG_ONLY = {"phi3-longrope": 64}
"""Families that equal transformers only on texts longer than this; below, it takes another rotation."""


def make_model(family: str, folder: Path | str, seed: int = 0) -> tf.PreTrainedModel:
    """Save a random checkpoint in ``folder`` and return the transformers model (eager attention)."""
    torch.manual_seed(seed)
    config = FAMILIES[family]()
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms are born constant, which would hide a bias that was dropped or a norm swapped.
            if "norm" in name or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return model
