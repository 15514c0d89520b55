"""`Segments`: from an answer's events to the stretches that it consists of, one after the other.

The item-wise protocols (OpenAI's responses, Anthropic's messages) tell an answer as a list of items:
reasoning, text, calls. Each opens, grows and closes before the next one opens; that order is kept here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

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


class Reads(Protocol):
    """Reads the deltas of a completion; `ReaderSet` does."""

    def read(self, out: CompletionOutput) -> list[AnswerEvent]:
        """Return the events of one delta; of the last one, what was held back as well."""
        ...

    def reasoning_tokens(self) -> int | None:
        """Return the tokens of reasoning so far; None where none is told apart."""
        ...


class Segments:
    """Follows one completion through its reader.

    Args:
        reader: of this completion, not yet used.
    """

    def __init__(self, reader: Reads) -> None:
        self.all: list[Segment] = []
        self._reader = reader
        self._current: Segment | None = None
        self._blank = ""
        self._logprobs: list[TokenLogprob] = []

    @property
    def called(self) -> bool:
        """Whether there is a call in the answer."""
        return any(segment.kind == "call" for segment in self.all)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of reasoning so far."""
        return self._reader.reasoning_tokens() or 0

    def push(self, out: CompletionOutput) -> list[Change]:
        """Take the next delta of the completion; on its last, what the reader held back comes as well."""
        self._logprobs.extend(out.logprobs or ())
        events = self._reader.read(out)
        grown = [
            event for event in events if isinstance(event, TextDelta | ReasoningDelta | ToolCallArguments)
        ]
        cut = out.finish_reason is not None and out.finish_reason is not FinishReason.STOP
        changes: list[Change] = []
        for event in events:
            changes += self._apply(event, newest=bool(grown) and event is grown[-1], cut=cut)
        if out.finish_reason is not None:
            changes += self._end(not cut)
        return changes

    def _end(self, complete: bool) -> list[Change]:
        changes: list[Change] = []
        if self._blank and not self.all:  # blanks are all there is
            changes += self._grow("text", self._blank, self._attribute())
        self._blank = ""
        # A call that the model ended was closed by its own event.
        cut = self._current is not None and self._current.kind == "call"
        return [*changes, *self._close(complete and not cut)]

    def _apply(self, event: AnswerEvent, newest: bool, cut: bool) -> Iterator[Change]:
        if isinstance(event, ToolCallStart):
            yield from self._close(True)
            self._blank = ""
            yield from self._open("call", event.id, event.name)
        elif isinstance(event, ToolCallEnd):
            if self._current is not None and self._current.kind == "call":
                # A reader closes what the limit cut off, too: then only the arguments can tell.
                yield from self._close(not cut or _is_json(self._current.text))
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
        taken, self._logprobs = self._logprobs, []
        return taken


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
