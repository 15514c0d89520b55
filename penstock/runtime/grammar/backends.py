"""Which library compiles grammars, by the setting ``structured.grammar_backend``."""

from __future__ import annotations

import importlib.util
from typing import Literal

from penstock.core.errors import ConfigError
from penstock.runtime.grammar.protocol import Backend
from penstock.runtime.grammar.vocabulary import Vocabulary

Name = Literal["xgrammar", "llguidance"]


def resolve_backend(setting: str) -> Name | None:
    """Return the backend that a setting means; None for ``off``, or for ``auto`` with neither installed.

    Raises:
        ConfigError: the one asked for is not installed.
    """
    if setting == "off":
        return None
    names: tuple[Name, ...] = ("xgrammar", "llguidance")
    for name in names:
        if setting in ("auto", name) and importlib.util.find_spec(name) is not None:
            return name
    if setting == "auto":
        return None
    raise ConfigError("structured.grammar_backend", f"{setting} is not installed: pip install {setting}")


def open_backend(name: str, vocabulary: Vocabulary) -> Backend:
    """Import a backend and give it a vocabulary.

    Raises:
        GrammarError: it cannot work with this vocabulary.
    """
    if name == "llguidance":
        from penstock.runtime.grammar.llguidance_backend import LLGuidanceBackend

        return LLGuidanceBackend(vocabulary)
    from penstock.runtime.grammar.xgrammar_backend import XGrammarBackend

    return XGrammarBackend(vocabulary)
