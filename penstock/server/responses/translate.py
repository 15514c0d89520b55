"""From the body of a response to the chat that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.chat import ChatRequest
from penstock.server.schemas.responses import (
    AllowedTools,
    FunctionChoice,
    FunctionTool,
    ResponsesRequest,
    ToolChoice,
)
from penstock.server.turns import Message, led_by

NAMES = {
    "messages": "input.",
    "prompt": "input.",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format.json_schema": "text.format",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}
"""The client's names of chat's fields."""


def chat_of(body: ResponsesRequest, messages: Sequence[Message]) -> ChatRequest:
    """Return the chat that answers a conversation as the body asks.

    Args:
        body: of the response.
        messages: the conversation, without the body's instructions.

    Raises:
        InvalidRequest, ValidationError: chat refuses a field; `NAMES` has the client's names.
    """
    fields = body.shared()
    fields["messages"] = led_by(body.instructions, messages)
    if body.max_output_tokens is not None:
        fields["max_tokens"] = body.max_output_tokens
    if body.wants_logprobs():
        fields |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    if body.reasoning is not None and body.reasoning.effort is not None:
        fields["reasoning_effort"] = body.reasoning.effort
    form = _response_format(body)
    if form is not None:
        fields["response_format"] = form
    fields |= _tools(body)
    return ChatRequest.model_validate(fields)


def _response_format(body: ResponsesRequest) -> dict[str, Any] | None:
    form = body.text.format if body.text is not None else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "json_object"}
    schema = {
        "name": form.name or "answer",
        "description": form.description,
        "schema": form.schema_,
        "strict": form.strict,
    }
    return {
        "type": "json_schema",
        "json_schema": {key: value for key, value in schema.items() if value is not None},
    }


def _tools(body: ResponsesRequest) -> dict[str, Any]:
    tools = [_chat_tool(tool) for tool in body.tools or () if isinstance(tool, FunctionTool)]
    choice = _choice(body.tool_choice)
    if not tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("tool_choice", "needs tools to choose from")
        return {}
    fields: dict[str, Any] = {"tools": tools}
    if choice is not None:
        fields["tool_choice"] = choice
    if body.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = body.parallel_tool_calls
    return fields


def _choice(choice: ToolChoice | None) -> str | dict[str, Any] | None:
    if isinstance(choice, FunctionChoice):
        return _named(choice)
    if isinstance(choice, AllowedTools):
        allowed = {"mode": choice.mode, "tools": [_named(tool) for tool in choice.tools]}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice if isinstance(choice, str) else None


def _named(choice: FunctionChoice) -> dict[str, Any]:
    return {"type": "function", "function": {"name": choice.name}}


def _chat_tool(tool: FunctionTool) -> dict[str, Any]:
    function = tool.model_dump(exclude_none=True, exclude={"type"})
    return {"type": "function", "function": function}
