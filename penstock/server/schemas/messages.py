"""Bodies of ``POST /v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.base import MAX_INT, Body
from penstock.server.schemas.message_blocks import Block, Id, OnlyText, ToolResultBlock
from penstock.server.schemas.sampling import StopString
from penstock.server.schemas.single import SingleAnswerBody, kind_of, refuse


class Message(Body):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(Body):
    """A function of the client's that the model may call."""

    type: Literal["custom"] | None = None
    name: Id
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None


class UnservedTool(Body):
    """A tool that would have to run here."""

    type: Annotated[Any, refuse("tools", ("custom",))]


AnyTool = Annotated[
    Annotated[Tool, Tag("Custom")] | Annotated[UnservedTool, Tag("Unserved")],
    Discriminator(kind_of({"custom": "Custom"}, default="custom")),
]


class ToolChoice(Body):
    """Whether, and what, the model calls."""

    type: Literal["auto", "any", "tool", "none"]
    name: Id | None = None
    disable_parallel_tool_use: bool | None = None

    @model_validator(mode="after")
    def _has_name(self) -> Self:
        if (self.type == "tool") != (self.name is not None):
            raise InvalidRequest("tool_choice.name", "is needed where the type is tool, and only there")
        return self


class Thinking(Body):
    """Whether the model thinks before it answers."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(None, ge=1, le=MAX_INT)


class OutputFormat(Body):
    """What the text must look like."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Body):
    """Form of the text, and effort spent on it."""

    format: OutputFormat | None = None
    effort: Annotated[str, Field(max_length=32)] | None = None


class Metadata(Body):
    """Who asks, as the client tells."""

    user_id: Annotated[str, Field(max_length=256)] | None = None


class MessagesBody(SingleAnswerBody):
    """A conversation in Anthropic's form."""

    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1, max_length=100_000)]
    system: str | list[OnlyText] | None = None
    tools: Annotated[list[AnyTool], Field(max_length=1024)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    stop_sequences: Annotated[list[StopString], Field(max_length=64)] | None = None
    metadata: Metadata | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _blocks_fit_roles(self) -> Self:
        for place, message in enumerate(self.messages):
            for index, block in enumerate(message.content if isinstance(message.content, list) else ()):
                result = isinstance(block, ToolResultBlock)
                if block.type != "text" and message.role != ("user" if result else "assistant"):
                    side = "the user" if result else "the assistant"
                    raise InvalidRequest(
                        f"messages[{place}].content[{index}]",
                        f"blocks of type '{block.type}' belong to {side}, not to the role '{message.role}'",
                    )
        return self

    @model_validator(mode="after")
    def _budget(self) -> Self:
        thinking = self.thinking
        if thinking is None or thinking.type != "enabled":
            return self
        if thinking.budget_tokens is None:
            raise InvalidRequest("thinking.budget_tokens", "is needed where thinking is enabled")
        if self.max_tokens is not None and thinking.budget_tokens >= self.max_tokens:
            raise InvalidRequest("thinking.budget_tokens", "must be less than max_tokens")
        return self


class MessagesRequest(MessagesBody):
    """A conversation to be answered."""

    max_tokens: int = Field(ge=1, le=MAX_INT, description="Most tokens to generate, thinking included")


class CountRequest(MessagesBody):
    """A conversation whose tokens are to be counted."""
