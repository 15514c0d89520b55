"""`Turns`: builds a chat's messages out of the smaller items that other protocols tell a conversation in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Message = dict[str, Any]


class Turns:
    """A conversation in the making. What an assistant thinks, says and calls in a row is one message.

    Args:
        earlier: messages before it; they are not changed.
    """

    def __init__(self, earlier: Sequence[Message] = ()) -> None:
        self.messages: list[Message] = list(earlier)
        self._first = len(self.messages)
        self._names = {
            call["id"]: call["function"]["name"]
            for message in earlier
            for call in message.get("tool_calls") or ()
        }

    def tell(self, role: str, text: str) -> None:
        """Add a message of the system's or the user's."""
        self.messages.append({"role": role, "content": text})

    def think(self, text: str) -> None:
        """Add to what the assistant thinks before it speaks or calls."""
        message = self._assistant(without=("content", "tool_calls"))
        message["reasoning_content"] = message.get("reasoning_content", "") + text

    def say(self, text: str) -> None:
        """Add what the assistant says."""
        self._assistant(without=("content", "tool_calls"))["content"] = text

    def call(self, call_id: str, name: str, arguments: str) -> None:
        """Add a call of the assistant's; arguments are JSON text."""
        function = {"name": name, "arguments": arguments}
        calls = self._assistant().setdefault("tool_calls", [])
        calls.append({"id": call_id, "type": "function", "function": function})
        self._names[call_id] = name

    def result(self, call_id: str, text: str) -> None:
        """Add what came out of a call."""
        message = {"role": "tool", "tool_call_id": call_id, "content": text}
        if call_id in self._names:
            message["name"] = self._names[call_id]
        self.messages.append(message)

    def _assistant(self, without: Iterable[str] = ()) -> Message:
        """Return the message that the assistant is at; a new one where the last has what it must not have."""
        last = self.messages[-1] if len(self.messages) > self._first else None
        if last is None or last["role"] != "assistant" or any(key in last for key in without):
            last = {"role": "assistant"}
            self.messages.append(last)
        return last


def led_by(system: str | None, messages: Sequence[Message]) -> list[Message]:
    """Return the messages below one system message: many templates know a single one, at the beginning.

    Args:
        system: text to put first; None or empty for none.
        messages: those at their head that are of the system's are joined to it.
    """
    head = 0
    while head < len(messages) and messages[head]["role"] == "system":
        head += 1
    texts = [system] if system else []
    texts += [message["content"] for message in messages[:head]]
    lead = [{"role": "system", "content": "\n\n".join(texts)}] if texts else []
    return [*lead, *messages[head:]]
