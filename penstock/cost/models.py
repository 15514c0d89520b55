"""Built-in models by name: the entries of their public config.json files that matter for time and memory."""

from __future__ import annotations

from typing import Any

from penstock.core.errors import ConfigError
from penstock.cost.shapes import ModelShape, from_config


def _llama(
    hidden: int, layers: int, heads: int, kv: int, inner: int, vocab: int, **other: Any
) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": inner,
        "vocab_size": vocab,
        **other,
    }


def _opt(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "opt",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "ffn_dim": 4 * hidden,
        "vocab_size": 50272,
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "llama-2-7b": _llama(4096, 32, 32, 32, 11008, 32000),
    "llama-2-13b": _llama(5120, 40, 40, 40, 13824, 32000),
    "llama-2-70b": _llama(8192, 80, 64, 8, 28672, 32000),
    "llama-3.2-3b": _llama(3072, 28, 24, 8, 8192, 128256, tie_word_embeddings=True),
    "llama-3.1-8b": _llama(4096, 32, 32, 8, 14336, 128256),
    "llama-3.1-70b": _llama(8192, 80, 64, 8, 28672, 128256),
    "mistral-7b": _llama(4096, 32, 32, 8, 14336, 32000),
    "yi-34b": _llama(7168, 60, 56, 8, 20480, 64000),
    "opt-13b": _opt(5120, 40, 40),
    "opt-66b": _opt(9216, 64, 72),
    "opt-175b": _opt(12288, 96, 96),
    "qwen3-0.6b": _llama(1024, 28, 16, 8, 3072, 151936, head_dim=128, tie_word_embeddings=True),
    "qwen3-8b": _llama(4096, 36, 32, 8, 12288, 151936, head_dim=128),
    "qwen3-32b": _llama(5120, 64, 64, 8, 25600, 151936, head_dim=128),
    "qwen3-30b-a3b": _llama(
        2048, 48, 32, 4, 6144, 151936, head_dim=128, num_experts=128, num_experts_per_tok=8,
        moe_intermediate_size=768,
    ),
    "mixtral-8x7b": _llama(4096, 32, 32, 8, 14336, 32000, num_local_experts=8, num_experts_per_tok=2),
    "penstock-chat": _llama(256, 6, 4, 2, 640, 3072, head_dim=64, tie_word_embeddings=True),
    "gpt-oss-20b": _llama(
        2880, 24, 64, 8, 2880, 201088, head_dim=64, num_local_experts=32, num_experts_per_tok=4,
        sliding_window=128, layer_types=["sliding_attention", "full_attention"] * 12,
        quantization_config={"quant_method": "mxfp4"},
    ),
}  # fmt: skip


def model_shape(name: str) -> ModelShape:
    """Look a built-in model up, in any case, with or without its organisation and a trailing ``-instruct``.

    Raises:
        ConfigError: no such model; it names those there are.
    """
    key = name.strip().lower().rpartition("/")[2].replace("_", "-")
    for entry in sorted(CONFIGS, key=len, reverse=True):
        if key == entry or key.startswith(entry + "-"):
            return from_config(CONFIGS[entry], entry)
    raise ConfigError("model", f"{name!r} is not built in; there are {', '.join(sorted(CONFIGS))}")
