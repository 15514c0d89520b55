"""`Segments`: from an answer's events to the stretches that it consists of, one after the other.

The item-wise protocols (OpenAI's responses, Anthropic's messages) tell an answer as a list of items:
reasoning, text, calls. Each opens, grows and closes before the next one opens; that order is kept here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from penstock.core.output import FinishReason
from penstock.frontend.answers.events import (
    AnswerEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from penstock.frontend.answers.reader import AnswerReader
from penstock.frontend.outputs import CompletionOutput, TokenLogprob


class Segment(msgspec.Struct):
    """One stretch of an answer; grows until it is closed."""

    index: int
    """0, 1, 2... in the order of the answer."""
    kind: Literal["text", "reasoning", "call"]
    call_id: str = ""
    name: str = ""
    """Of the function that a call calls."""
    pieces: list[str] = []
    logprobs: list[TokenLogprob] = []
    """Of the tokens that it was made from, where they were asked for."""
    complete: bool = False
    """Closed by the model, not cut off."""

    @property
    def text(self) -> str:
        """The text so far; a call's is its arguments as JSON text."""
        return "".join(self.pieces)


class Opened(msgspec.Struct, frozen=True):
    """A segment begins; it is empty."""

    segment: Segment


class Grew(msgspec.Struct, frozen=True):
    """A segment goes on."""

    segment: Segment
    text: str
    logprobs: Sequence[TokenLogprob]


class Closed(msgspec.Struct, frozen=True):
    """A segment is over, ``complete`` or not."""

    segment: Segment


Change = Opened | Grew | Closed


class Segments:
    """Follows one completion through a reader.

    Args:
        reader: of this completion, not yet used.
    """

    def __init__(self, reader: AnswerReader) -> None:
        self.all: list[Segment] = []
        self.reasoning_tokens = 0
        """Tokens that became reasoning; of a delta that became more than that, its share of characters."""
        self._reader = reader
        self._current: Segment | None = None
        self._blank = ""
        self._tokens = 0
        self._logprobs: list[TokenLogprob] = []

    @property
    def called(self) -> bool:
        """Whether there is a call in the answer."""
        return any(segment.kind == "call" for segment in self.all)

    def push(self, out: CompletionOutput) -> list[Change]:
        """Take the next delta of the completion; on its last, what the reader held back comes as well."""
        self._tokens += len(out.token_ids)
        self._logprobs.extend(out.logprobs or ())
        changes = self._take(self._reader.push(out.text))
        if out.finish_reason is not None:
            whole = out.finish_reason is FinishReason.STOP
            changes += self._take(self._reader.finish(), whole)
            changes += self._end(whole)
        return changes

    def _end(self, complete: bool) -> list[Change]:
        changes: list[Change] = []
        if self._blank and not self.all:  # blanks are all there is
            changes += self._grow("text", self._blank, self._attribute())
        self._blank = ""
        # A call that the model ended was closed by its own event.
        cut = self._current is not None and self._current.kind == "call"
        return [*changes, *self._close(complete and not cut)]

    def _take(self, events: Sequence[AnswerEvent], whole: bool = True) -> list[Change]:
        """Return what events change; a call that ends with an answer that is not whole was cut off."""
        changes: list[Change] = []
        grown = [
            event for event in events if isinstance(event, TextDelta | ReasoningDelta | ToolCallArguments)
        ]
        reasoning = sum(len(event.text) for event in grown if isinstance(event, ReasoningDelta))
        if reasoning:
            self.reasoning_tokens += round(self._tokens * reasoning / sum(len(event.text) for event in grown))
        for event in events:
            changes += self._apply(event, newest=bool(grown) and event is grown[-1], whole=whole)
        return changes

    def _apply(self, event: AnswerEvent, newest: bool, whole: bool) -> Iterator[Change]:
        if isinstance(event, ToolCallStart):
            yield from self._close(True)
            self._blank = ""
            yield from self._open("call", event.id, event.name)
        elif isinstance(event, ToolCallEnd):
            if self._current is not None and self._current.kind == "call":
                yield from self._close(whole)
        elif isinstance(event, ToolCallArguments):
            yield from self._grow("call", event.text, self._attribute() if newest else [])
        elif isinstance(event, ReasoningDelta):
            yield from self._grow("reasoning", event.text, self._attribute() if newest else [])
        else:
            yield from self._text(event, newest)

    def _text(self, event: TextDelta, newest: bool) -> Iterator[Change]:
        """Grow a text; blanks between calls or after reasoning open none: they are layout, not words."""
        text = self._blank + event.text
        inside = self._current is not None and self._current.kind == "text"
        if not inside and not text.strip():
            self._blank = text
            return
        self._blank = ""
        yield from self._grow("text", text, self._attribute() if newest else [])

    def _grow(
        self, kind: Literal["text", "reasoning", "call"], text: str, logprobs: list[TokenLogprob]
    ) -> Iterator[Change]:
        if self._current is None or self._current.kind != kind:
            yield from self._close(True)
            yield from self._open(kind)
        assert self._current is not None
        self._current.pieces.append(text)
        self._current.logprobs.extend(logprobs)
        yield Grew(self._current, text, logprobs)

    def _open(
        self, kind: Literal["text", "reasoning", "call"], call_id: str = "", name: str = ""
    ) -> Iterator[Change]:
        self._current = Segment(len(self.all), kind, call_id, name)
        self.all.append(self._current)
        yield Opened(self._current)

    def _close(self, complete: bool) -> Iterator[Change]:
        if self._current is not None:
            self._current.complete = complete
            yield Closed(self._current)
            self._current = None

    def _attribute(self) -> list[TokenLogprob]:
        """Return the scores of the tokens that no segment had yet."""
        taken, self._logprobs, self._tokens = self._logprobs, [], 0
        return taken
