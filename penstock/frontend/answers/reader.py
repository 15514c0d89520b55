"""`AnswerReader`: from pieces of generated text to the events of one completion."""

from __future__ import annotations

from typing import Protocol

from penstock.frontend.answers.events import AnswerEvent, TextDelta


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
