"""Numbers and ids of the calls of one answer, and what is known of the tools that they call."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.frontend.answers.events import ToolCallArguments, ToolCallEnd, ToolCallStart
from penstock.frontend.answers.values import Types, types_of


def call_id() -> str:
    """Return a fresh id of a call, in OpenAI's form."""
    return f"call_{uuid.uuid4().hex[:24]}"


def short_id() -> str:
    """Return a fresh id of nine letters and digits, the only form that Mistral's templates take back."""
    return uuid.uuid4().hex[:9]


class Calls:
    """Numbers the calls of one answer, and knows which tools there are.

    Args:
        tools: OpenAI-style tools that may be called.
        new_id: makes ids.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]], new_id: Callable[[], str] = call_id) -> None:
        self._tools = {str(tool["function"]["name"]): tool["function"] for tool in tools}
        self.names = frozenset(self._tools)
        self._new_id = new_id
        self.count = 0

    def types(self, name: str, parameter: str) -> Types:
        """Return the types that a parameter of a known tool may have."""
        whole = self._tools[name].get("parameters") or {}
        return types_of((whole.get("properties") or {}).get(parameter), whole)

    def start(self, name: str, own_id: str = "") -> ToolCallStart:
        """Begin the next call."""
        self.count += 1
        return ToolCallStart(self.count - 1, own_id or self._new_id(), name)

    def arguments(self, text: str) -> ToolCallArguments:
        """Add to the call begun last."""
        return ToolCallArguments(self.count - 1, text)

    def end(self) -> ToolCallEnd:
        """End the call begun last."""
        return ToolCallEnd(self.count - 1)
