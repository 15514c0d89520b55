"""From the body of a message to the chat that answers it."""

from __future__ import annotations

import json
from typing import Any

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.chat import ChatRequest
from penstock.server.schemas.message_blocks import (
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    joined,
)
from penstock.server.schemas.messages import Message, MessagesBody, Tool
from penstock.server.turns import Turns, led_by

NAMES = {
    "stop": "stop_sequences",
    "prompt": "messages.",
    "user": "metadata.user_id",
    "response_format.json_schema": "output_config.format",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
    "thinking_token_budget": "thinking.budget_tokens",
}
"""The client's names of chat's fields."""


def chat_of(body: MessagesBody, thinks: bool) -> ChatRequest:
    """Return the chat that answers a conversation as the body asks.

    A last message of the assistant's is gone on with; the answer is what follows it.

    Args:
        body: of the message.
        thinks: the model's thoughts can be told from its text; a budget for them says nothing otherwise.

    Raises:
        InvalidRequest, ValidationError: chat refuses a field; `NAMES` has the client's names.
    """
    turns = Turns()
    for message in body.messages:
        _turn(turns, message)
    fields = body.shared()
    fields["messages"] = led_by(joined(body.system or "", "\n\n"), turns.messages)
    last = turns.messages[-1] if turns.messages else {}
    if last.get("role") == "assistant" and last.get("content") and "tool_calls" not in last:
        fields["continue_final_message"] = True
    if body.stop_sequences:
        fields["stop"] = body.stop_sequences
    if body.metadata is not None and body.metadata.user_id is not None:
        fields["user"] = body.metadata.user_id
    if thinks and body.thinking is not None and body.thinking.budget_tokens is not None:
        fields["thinking_token_budget"] = body.thinking.budget_tokens
    fields |= _thinking(body) | _output(body) | _tools(body)
    return ChatRequest.model_validate(fields)


def _turn(turns: Turns, message: Message) -> None:
    blocks = message.content
    if isinstance(blocks, str):
        blocks = [TextBlock(type="text", text=blocks)]
    text: list[str] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            text.append(block.text)
            continue
        _say(turns, message.role, text)
        if isinstance(block, ThinkingBlock):
            turns.think(block.thinking)
        elif isinstance(block, ToolUseBlock):
            turns.call(block.id, block.name, json.dumps(block.input, ensure_ascii=False))
        elif isinstance(block, ToolResultBlock):
            turns.result(block.tool_use_id, block.text)
    _say(turns, message.role, text)


def _say(turns: Turns, role: str, text: list[str]) -> None:
    """Add the text blocks so far as one message, and begin anew."""
    if text:
        whole = "".join(text)
        if role == "assistant":
            turns.say(whole)
        else:
            turns.tell(role, whole)
        text.clear()


def _thinking(body: MessagesBody) -> dict[str, Any]:
    """Return what says whether to think, in the words that templates with a switch for it know."""
    given = dict(body.chat_template_kwargs or {})
    if body.thinking is not None and body.thinking.type != "adaptive":
        given.setdefault("enable_thinking", body.thinking.type == "enabled")
    return {"chat_template_kwargs": given} if given else {}


def _output(body: MessagesBody) -> dict[str, Any]:
    config, fields = body.output_config, dict[str, Any]()
    if config is not None and config.format is not None:
        schema = {"name": "answer", "schema": config.format.schema_, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    if config is not None and config.effort is not None:
        fields["reasoning_effort"] = config.effort
    return fields


_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def _tools(body: MessagesBody) -> dict[str, Any]:
    tools = [tool for tool in body.tools or () if isinstance(tool, Tool)]
    choice, fields = body.tool_choice, dict[str, Any]()
    if tools:
        fields["tools"] = [_chat_tool(tool) for tool in tools]
    if choice is None:
        return fields
    if not tools:
        if choice.type in ("any", "tool"):
            raise InvalidRequest("tool_choice", "needs tools to choose from")
        return fields
    if choice.type == "tool":
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        fields["tool_choice"] = _CHOICES[choice.type]
    if choice.disable_parallel_tool_use is not None:
        fields["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    return fields


def _chat_tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema,
        "strict": tool.strict,
    }
    return {"type": "function", "function": {key: v for key, v in function.items() if v is not None}}
