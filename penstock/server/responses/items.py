"""Input items: as messages of a chat, and as what is listed of a stored response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.server.schemas.response_items import (
    CallItem,
    CallOutputItem,
    Item,
    MessageItem,
    ReasoningItem,
    text_of,
)
from penstock.server.turns import Message, Turns


def messages_of(items: str | Sequence[Item], earlier: Sequence[Message] = ()) -> list[Message]:
    """Return a conversation's messages: the earlier ones, then the items'."""
    turns = Turns(earlier)
    if isinstance(items, str):
        turns.tell("user", items)
        return turns.messages
    for item in items:
        if isinstance(item, MessageItem):
            _message(turns, item)
        elif isinstance(item, CallItem):
            turns.call(item.call_id, item.name, item.arguments)
        elif isinstance(item, CallOutputItem):
            turns.result(item.call_id, text_of(item.output))
        elif isinstance(item, ReasoningItem) and item.text:
            turns.think(item.text)
    return turns.messages


def _message(turns: Turns, item: MessageItem) -> None:
    if item.role == "assistant":
        turns.say(text_of(item.content))
    else:  # templates know the developer by the older name
        turns.tell("user" if item.role == "user" else "system", text_of(item.content))


def listed(items: str | Sequence[Item], key: str) -> list[dict[str, Any]]:
    """Return the items in their full form.

    Args:
        items: a response's input.
        key: what the ids of items that brought none are made from.
    """
    if isinstance(items, str):
        items = [MessageItem(role="user", content=items)]
    return [_full(item, f"{key}_in{index}") for index, item in enumerate(items)]


def _full(item: Item, key: str) -> dict[str, Any]:
    if isinstance(item, MessageItem):
        kind = "output_text" if item.role == "assistant" else "input_text"
        part: dict[str, Any] = {"type": kind, "text": text_of(item.content)}
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        own: dict[str, Any] = {"role": item.role, "content": [part]}
        prefix = "msg"
    elif isinstance(item, CallItem):
        own = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        prefix = "fc"
    elif isinstance(item, CallOutputItem):
        own = {"call_id": item.call_id, "output": text_of(item.output)}
        prefix = "fco"
    else:
        assert isinstance(item, ReasoningItem)
        own = {
            "summary": [part.model_dump() for part in item.summary or ()],
            "content": [part.model_dump() for part in item.content or ()],
        }
        prefix = "rs"
    return {
        "id": item.id or f"{prefix}_{key}",
        "type": item.type,
        "status": item.status or "completed",
        **own,
    }
