"""Penstock: an LLM inference engine, server and simulator built from small policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.frontend.llm import LLM
    from penstock.frontend.params import GenerationParams as SamplingParams

__all__ = ["LLM", "SamplingParams"]

_LAZY = {
    "LLM": ("penstock.frontend.llm", "LLM"),
    "SamplingParams": ("penstock.frontend.params", "GenerationParams"),
}
"""Imported on first use, so that ``import penstock`` stays light."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
