"""The forms in which a prompt may come, and what a request may carry besides prompt and sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.core.request import SLO, GrammarSpec, Turn


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, rendered to a prompt by the model's chat template."""

    messages: Sequence[Mapping[str, Any]]
    """OpenAI-style messages: role, content (a string or a list of text parts), and what a template reads."""
    add_generation_prompt: bool = True
    """Open the assistant's turn at the end."""
    continue_final_message: bool = False
    """Leave the last message open so that the model goes on with it."""
    tools: Sequence[Mapping[str, Any]] | None = None
    template_kwargs: Mapping[str, Any] = {}
    """Further variables for the template (``enable_thinking``...)."""
    rendered: str | None = None
    """The prompt's text, where the caller has rendered it already."""


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A plain prompt with a say in whether the tokenizer adds its special tokens (bos...)."""

    text: str
    add_special_tokens: bool = True


Prompt = str | Text | Chat | Sequence[int] | Sequence[Mapping[str, Any]]
"""Text, token ids, or a conversation (a bare list of messages is a `Chat` with its defaults)."""


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a request is scheduled and accounted; the fields are those of `RequestSpec`."""

    tenant: str = "default"
    weight: float = 1.0
    priority: int = 0
    slo: SLO | None = None
    program: str | None = None
    turn: Turn | None = None
    length_score: float | None = None
    group: str | None = None
    group_tokens: int = 0
    adapter: str | None = None
    grammar: GrammarSpec | None = None
    cache_namespace: str = ""
    trace: str | None = None
