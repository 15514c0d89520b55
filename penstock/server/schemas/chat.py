"""Body of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.base import Body
from penstock.server.schemas.sampling import GenerationBody, ResponseFormat, Unserved


class TextPart(Body):
    """A piece of a message's content. Text is the only kind that the served models read."""

    type: Literal["text"]
    text: str


class Message(Body):
    """One turn. Which roles a model knows is its chat template's business."""

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[TextPart] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    reasoning_content: str | None = None

    def for_template(self) -> dict[str, Any]:
        """Return the turn as chat templates expect it: text content, only the keys that were given."""
        turn = self.model_dump(exclude_none=True)
        if isinstance(self.content, list):
            turn["content"] = "".join(part.text for part in self.content)
        turn.setdefault("content", "")
        return turn


class ChatTemplateFields(Body):
    """How messages become a prompt; shared with the tokenize endpoint."""

    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1, max_length=65536)]
    add_generation_prompt: bool | None = Field(None, description="End the prompt where an answer begins")
    continue_final_message: bool | None = Field(None, description="Go on with the last message")
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_ending(self) -> Self:
        if self.continue_final_message and self.add_generation_prompt:
            raise InvalidRequest(
                "continue_final_message",
                "excludes add_generation_prompt",
            )
        return self

    def turns(self) -> list[dict[str, Any]]:
        """Return all messages in the form that chat templates expect."""
        return [message.for_template() for message in self.messages]


class ChatRequest(ChatTemplateFields, GenerationBody):
    """A conversation to go on with."""

    max_completion_tokens: int | None = Field(None, ge=0, description="Newer name of max_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = Field(None, description="Put the last message's text before the answer")
    response_format: ResponseFormat | None = None
    tools: Annotated[list[dict[str, Any]] | None, Unserved] = None
    functions: Annotated[list[dict[str, Any]] | None, Unserved] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs", "needs logprobs to be true")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options", "is only allowed when stream is true")
        return self

    def limit(self) -> int | None:
        """Return the asked number of tokens, by either of its names."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
