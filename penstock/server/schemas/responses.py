"""Body of ``POST /v1/responses``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.base import MAX_INT, Body
from penstock.server.schemas.response_items import Id, Item
from penstock.server.schemas.sampling import Unserved
from penstock.server.schemas.single import SingleAnswerBody, kind_of, refuse

FunctionName = Annotated[str, Field(min_length=1, max_length=256)]


class FunctionTool(Body):
    """A function of the client's that the model may call."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class UnservedTool(Body):
    """A tool that would have to run here."""

    type: Annotated[Any, refuse("tools", ("function",))]


Tool = Annotated[
    Annotated[FunctionTool, Tag("Function")] | Annotated[UnservedTool, Tag("Unserved")],
    Discriminator(kind_of({"function": "Function"})),
]


class FunctionChoice(Body):
    """This function must be called."""

    type: Literal["function"]
    name: FunctionName


class AllowedTools(Body):
    """Only these functions may be called."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[FunctionChoice]


class UnservedChoice(Body):
    """A choice of a tool that is not served."""

    type: Annotated[Any, refuse("tool choices", ("function", "allowed_tools"))]


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[
        Annotated[FunctionChoice, Tag("Function")]
        | Annotated[AllowedTools, Tag("Allowed")]
        | Annotated[UnservedChoice, Tag("Unserved")],
        Discriminator(kind_of({"function": "Function", "allowed_tools": "Allowed"})),
    ]
)


class TextFormat(Body):
    """What the text must look like."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(max_length=256)] | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and self.schema_ is None:
            raise InvalidRequest("text.format.schema", "is needed where the type is json_schema")
        return self


class TextConfig(Body):
    """Form and length of the text."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Body):
    """How much the model thinks before it answers."""

    effort: Annotated[str, Field(max_length=32)] | None = None
    summary: Annotated[str, Field(max_length=32)] | None = None


MetadataText = Annotated[str, Field(max_length=512)]


class ResponsesRequest(SingleAnswerBody):
    """Input items, or a text, to be answered; alone or after an earlier response."""

    input: str | Annotated[list[Item], Field(fail_fast=True, min_length=1, max_length=65536)]
    instructions: str | None = Field(None, description="System message; not carried to later responses")
    previous_response_id: Id | None = Field(None, description="Go on after this stored response")
    store: bool | None = Field(None, description="Keep the response for a while; default true")
    background: bool | None = Field(None, description="Answer at once and generate behind it; needs store")
    tools: Annotated[list[Tool], Field(max_length=1024)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    max_output_tokens: int | None = Field(None, ge=1, le=MAX_INT, description="Reasoning included")
    top_logprobs: int | None = Field(None, ge=0, le=20)
    include: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=64)] | None = None
    reasoning: ReasoningConfig | None = None
    metadata: Annotated[dict[str, MetadataText], Field(max_length=16)] | None = None
    truncation: Literal["auto", "disabled"] | None = Field(
        None, description="auto drops the oldest turns of a conversation that does not fit"
    )
    max_tool_calls: int | None = Field(None, ge=1, le=MAX_INT, description="Bounds built-in tools only")
    service_tier: Annotated[str, Field(max_length=32)] | None = None
    safety_identifier: Annotated[str, Field(max_length=256)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=256)] | None = None
    prompt: Annotated[dict[str, Any] | None, Unserved] = None
    conversation: Annotated[str | dict[str, Any] | None, Unserved] = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.background and self.store is False:
            raise InvalidRequest("background", "needs the response to be stored; leave store true")
        if any(len(key) > 64 for key in self.metadata or ()):
            raise InvalidRequest("metadata", "keys may have at most 64 characters")
        return self

    def wants_logprobs(self) -> bool:
        """Say whether tokens are to be scored: alternatives were asked for, or the scores by name."""
        return bool(self.top_logprobs) or "message.output_text.logprobs" in (self.include or ())
