"""Adapters from Hugging Face configs, by architecture name."""

from __future__ import annotations

from penstock.core.errors import ConfigError
from penstock.models.families.base import Adapter
from penstock.models.families.llama import LlamaAdapter

ADAPTERS: dict[str, Adapter] = {
    "LlamaForCausalLM": LlamaAdapter(),
    "MistralForCausalLM": LlamaAdapter(windowed=True),
    "Qwen2ForCausalLM": LlamaAdapter(windowed=True, qkv_bias=True),
    "Qwen3ForCausalLM": LlamaAdapter(windowed=True, qk_norm=True),
}
"""Architecture (the class name in ``config.json``) -> adapter."""


def adapter_for(architectures: list[str]) -> Adapter:
    """Return the adapter of the first architecture that has one.

    Raises:
        ConfigError: none has; the message lists those that do.
    """
    for name in architectures:
        if name in ADAPTERS:
            return ADAPTERS[name]
    found = ", ".join(architectures) or "none named"
    raise ConfigError(
        "model.model", f"unsupported architecture ({found}); supported are {', '.join(sorted(ADAPTERS))}"
    )
