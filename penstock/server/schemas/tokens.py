"""Bodies of ``/tokenize`` (text form and chat form) and ``/detokenize``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from penstock.server.schemas.base import Body, Label, TokenId
from penstock.server.schemas.chat import ChatTemplateFields


class TokenizeText(Body):
    """Text to be turned into token ids."""

    model: Label | None = None
    prompt: str
    add_special_tokens: bool | None = Field(None, description="Default true")
    return_token_strs: bool | None = None


class TokenizeChat(ChatTemplateFields):
    """Messages to be put through the chat template and turned into token ids."""

    model: Label | None = None
    add_special_tokens: bool | None = Field(None, description="Default false: templates bring their own")
    return_token_strs: bool | None = None


def _form(value: Any) -> str:
    """Say which form a body has, so that an error is about that form only."""
    return "Chat" if isinstance(value, dict) and "messages" in value else "Text"


TokenizeRequest = Annotated[
    Annotated[TokenizeText, Tag("Text")] | Annotated[TokenizeChat, Tag("Chat")], Discriminator(_form)
]
"""Either form, told apart by the presence of ``messages``."""


class DetokenizeRequest(Body):
    """Token ids to be turned into text."""

    model: Label | None = None
    tokens: Annotated[list[TokenId], Field(fail_fast=True)]
