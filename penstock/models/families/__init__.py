"""Adapters from Hugging Face configs, by architecture name."""

from __future__ import annotations

from penstock.core.errors import ConfigError
from penstock.models.families.base import Adapter
from penstock.models.families.classic import NeoxAdapter, OptAdapter
from penstock.models.families.gemma import GemmaAdapter
from penstock.models.families.llama import LlamaAdapter, Phi3Adapter
from penstock.models.families.moe import MixtralAdapter, QwenMoeAdapter

ADAPTERS: dict[str, Adapter] = {
    "LlamaForCausalLM": LlamaAdapter(),
    "MistralForCausalLM": LlamaAdapter(windowed=True),
    "Qwen2ForCausalLM": LlamaAdapter(windowed=True, qkv_bias=True),
    "Qwen3ForCausalLM": LlamaAdapter(windowed=True, qk_norm=True),
    "Gemma2ForCausalLM": GemmaAdapter(),
    "Gemma3ForCausalLM": GemmaAdapter(third=True),
    "Gemma3ForConditionalGeneration": GemmaAdapter(third=True),
    "Phi3ForCausalLM": Phi3Adapter(),
    "OPTForCausalLM": OptAdapter(),
    "GPTNeoXForCausalLM": NeoxAdapter(),
    "MixtralForCausalLM": MixtralAdapter(),
    "Qwen2MoeForCausalLM": QwenMoeAdapter(shared=True),
    "Qwen3MoeForCausalLM": QwenMoeAdapter(qk_norm=True),
}
"""Architecture (the class name in ``config.json``) -> adapter. Of multimodal models the text part runs."""


def adapter_for(architectures: list[str]) -> tuple[str, Adapter]:
    """Return the first architecture that has an adapter, and the adapter.

    Raises:
        ConfigError: none has; the message lists those that do.
    """
    for name in architectures:
        if name in ADAPTERS:
            return name, ADAPTERS[name]
    found = ", ".join(architectures) or "none named"
    raise ConfigError(
        "model.model", f"unsupported architecture ({found}); supported are {', '.join(sorted(ADAPTERS))}"
    )
