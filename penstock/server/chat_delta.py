"""What the events of an answer add to a chat's message."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from penstock.frontend.answers.events import (
    AnswerEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)
from penstock.server.schemas import replies


class Gathered:
    """Events put together: text, reasoning, and calls by their number."""

    def __init__(self, events: Sequence[AnswerEvent]) -> None:
        self.text = "".join(event.text for event in events if isinstance(event, TextDelta))
        self.reasoning = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
        self.started = {event.call: event for event in events if isinstance(event, ToolCallStart)}
        self.arguments: dict[int, str] = dict.fromkeys(self.started, "")
        for event in events:
            if isinstance(event, ToolCallArguments):
                self.arguments[event.call] = self.arguments.get(event.call, "") + event.text

    def message(self, echo: str) -> replies.ChatMessage:
        """Return the message of a whole answer.

        Args:
            echo: text to put before it.
        """
        text = echo + self.text
        calls = [
            replies.ToolCall(start.id, replies.CalledFunction(start.name, self.arguments[call]))
            for call, start in self.started.items()
        ]
        return replies.ChatMessage(
            text if text or not (calls or self.reasoning) else None,
            reasoning_content=self.reasoning or UNSET,
            reasoning=self.reasoning or UNSET,
            tool_calls=calls or UNSET,
        )

    def delta(self, first: bool, echo: str) -> replies.Delta:
        """Return what a chunk says.

        Args:
            first: it begins the message.
            echo: text to put before the answer's.
        """
        text: str | UnsetType = echo + self.text or UNSET
        if first and text is UNSET and not (self.reasoning or self.arguments):
            text = ""
        return replies.Delta(
            role="assistant" if first else UNSET,
            content=text,
            reasoning_content=self.reasoning or UNSET,
            reasoning=self.reasoning or UNSET,
            tool_calls=[self._call(call) for call in self.arguments] or UNSET,
        )

    def _call(self, call: int) -> replies.ToolCallDelta:
        arguments, start = self.arguments[call], self.started.get(call)
        if start is None:
            return replies.ToolCallDelta(index=call, function=replies.FunctionDelta(arguments=arguments))
        function = replies.FunctionDelta(name=start.name, arguments=arguments)
        return replies.ToolCallDelta(index=call, id=start.id, type="function", function=function)


class Withheld:
    """Takes reasoning out of a message, for good or until it is complete.

    Args:
        shown: reasoning is sent at all.
        streamed: it is sent as it comes; otherwise in one piece.
    """

    def __init__(self, shown: bool, streamed: bool) -> None:
        self._shown = shown
        self._streamed = streamed
        self._kept: dict[int, str] = {}

    def sift(self, index: int, events: list[AnswerEvent], last: bool) -> list[AnswerEvent]:
        """Return what may be sent now of an answer's events.

        Args:
            index: which answer.
            events: its news.
            last: there will be no more.
        """
        if self._shown and self._streamed:
            return events
        reasoning = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
        others: list[AnswerEvent] = [event for event in events if not isinstance(event, ReasoningDelta)]
        if not self._shown:
            return others
        kept = self._kept.get(index, "") + reasoning
        if kept and (others or last):
            self._kept[index] = ""
            return [ReasoningDelta(kept), *others]
        self._kept[index] = kept
        return others
