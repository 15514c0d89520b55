"""Body of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.base import Body
from penstock.server.schemas.sampling import GenerationBody, Unserved
from penstock.server.schemas.tools import Tool, ToolCall, ToolChoice


class TextPart(Body):
    """A piece of a message's content. Text is the only kind that the served models read."""

    type: Literal["text"]
    text: str


class Message(Body):
    """One turn. Which roles a model knows is its chat template's business."""

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[TextPart] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = Field(None, description="Other name of reasoning_content")

    def for_template(self) -> dict[str, Any]:
        """Return the turn as chat templates expect it: text content, only the keys that were given."""
        turn = self.model_dump(exclude_none=True, exclude={"reasoning"})
        if self.reasoning is not None:
            turn.setdefault("reasoning_content", self.reasoning)
        if isinstance(self.content, list):
            turn["content"] = "".join(part.text for part in self.content)
        turn.setdefault("content", "")
        return turn


class ChatTemplateFields(Body):
    """How messages become a prompt; shared with the tokenize endpoint."""

    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1, max_length=65536)]
    add_generation_prompt: bool | None = Field(None, description="End the prompt where an answer begins")
    continue_final_message: bool | None = Field(None, description="Go on with the last message")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Further variables of the chat template, such as enable_thinking"
    )
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        None, description="Told to the chat template; none also sets enable_thinking to false"
    )
    tools: Annotated[list[Tool], Field(max_length=1024)] | None = Field(
        None, description="Functions that the model may call"
    )

    @field_validator("tools")
    @classmethod
    def _names_differ(cls, tools: list[Tool] | None) -> list[Tool] | None:
        names = [tool.function.name for tool in tools or ()]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tools have the name {name!r}")
        return tools

    @model_validator(mode="after")
    def _one_ending(self) -> Self:
        if self.continue_final_message and self.add_generation_prompt:
            raise InvalidRequest(
                "continue_final_message",
                "excludes add_generation_prompt",
            )
        return self

    def template_variables(self) -> dict[str, Any]:
        """Return the variables of the chat template besides messages and tools."""
        effort = self.reasoning_effort
        found: dict[str, Any] = {} if effort is None else {"reasoning_effort": effort}
        if effort == "none":
            found["enable_thinking"] = False
        return {**found, **(self.chat_template_kwargs or {})}

    def told_tools(self) -> list[dict[str, Any]] | None:
        """Return the tools that the prompt speaks of; None for none."""
        return [tool.for_template() for tool in self.tools or ()] or None

    def turns(self) -> list[dict[str, Any]]:
        """Return all messages in the form that chat templates expect."""
        return [message.for_template() for message in self.messages]


class ChatRequest(ChatTemplateFields, GenerationBody):
    """A conversation to go on with."""

    max_completion_tokens: int | None = Field(None, ge=0, description="Newer name of max_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = Field(None, description="Put the last message's text before the answer")
    tool_choice: ToolChoice | None = Field(None, description="auto by default; none tells of no tools")
    parallel_tool_calls: bool | None = Field(None, description="Several calls in one answer; default true")
    functions: Annotated[list[dict[str, Any]] | None, Unserved] = Field(
        None, description="Not served: use tools"
    )
    function_call: Annotated[str | dict[str, Any] | None, Unserved] = Field(
        None, description="Not served: use tool_choice"
    )
    include_reasoning: bool | None = Field(None, description="false leaves the reasoning out of the reply")
    separate_reasoning: bool | None = Field(
        None, description="false leaves the reasoning where the model wrote it, in the content"
    )
    stream_reasoning: bool | None = Field(None, description="false sends the reasoning in one piece")
    thinking_token_budget: int | None = Field(
        None, ge=0, le=2**31 - 1, description="Reasoning is brought to its end after so many tokens"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs", "needs logprobs to be true")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options", "is only allowed when stream is true")
        self._check_choice()
        return self

    def limit(self) -> int | None:
        """Return the asked number of tokens, by either of its names."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def told_tools(self) -> list[dict[str, Any]] | None:
        """Return the tools that the prompt speaks of: none where none may be called."""
        return None if self.tool_choice == "none" else super().told_tools()

    def _check_choice(self) -> None:
        choice = self.tool_choice
        if choice is None or choice == "none" or choice == "auto":
            return
        known = {tool.function.name for tool in self.tools or ()}
        if not known:
            raise InvalidRequest("tool_choice", "needs tools to choose from")
        if choice == "required":
            return
        named = [choice] if choice.type == "function" else choice.allowed_tools.tools
        for tool in named:
            if tool.function.name not in known:
                raise InvalidRequest("tool_choice", f"names no tool of the list: {tool.function.name!r}")
