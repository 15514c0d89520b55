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
    fields = value if isinstance(value, dict) else vars(value)
    return "chat" if "messages" in fields else "text"


TokenizeRequest = Annotated[
    Annotated[TokenizeText, Tag("text")] | Annotated[TokenizeChat, Tag("chat")], Discriminator(_form)
]
"""Either form, told apart by the presence of ``messages``."""


class DetokenizeRequest(Body):
    """Token ids to be turned into text."""

    model: Label | None = None
    tokens: Annotated[list[TokenId], Field(fail_fast=True)]
