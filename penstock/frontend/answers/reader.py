"""`AnswerReader`: from pieces of generated text to the events of one completion."""

from __future__ import annotations

from typing import Protocol

from penstock.frontend.answers.events import AnswerEvent, ReasoningDelta, TextDelta


class AnswerReader(Protocol):
    """Follows one completion. However the text is cut into pieces, the joined events are the same."""

    def push(self, text: str) -> list[AnswerEvent]:
        """Take more text; what may yet turn out to be markup is held back."""
        ...

    def finish(self) -> list[AnswerEvent]:
        """Take the end of the answer; what was held back comes out as what it most plausibly is."""
        ...


class PlainReader:
    """Everything is text."""

    def push(self, text: str) -> list[AnswerEvent]:
        """Return the text as it is."""
        return [TextDelta(text)] if text else []

    def finish(self) -> list[AnswerEvent]:
        """Return nothing: nothing was held back."""
        return []


class ThoughtlessReader:
    """Takes the reasoning that another reader finds for text.

    Args:
        reader: the other one.
    """

    def __init__(self, reader: AnswerReader) -> None:
        self._reader = reader

    def push(self, text: str) -> list[AnswerEvent]:
        """Take more text."""
        return [_as_text(event) for event in self._reader.push(text)]

    def finish(self) -> list[AnswerEvent]:
        """Take the end."""
        return [_as_text(event) for event in self._reader.finish()]


def _as_text(event: AnswerEvent) -> AnswerEvent:
    return TextDelta(event.text) if isinstance(event, ReasoningDelta) else event
