"""Finding marks in a text that arrives in pieces, and the skeleton of the readers that look for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import (
    AnswerEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
)


def beginning(text: str, marks: Iterable[str]) -> int:
    """Return the length of the longest end of ``text`` that may begin a mark and is no whole one."""
    longest = 0
    for mark in marks:
        for length in range(min(len(mark) - 1, len(text)), longest, -1):
            if text.endswith(mark[:length]):
                longest = length
                break
    return longest


def find(text: str, marks: Iterable[str]) -> tuple[int, str]:
    """Return where the first mark stands and which it is; (-1, "") when there is none."""
    found = [(at, mark) for mark in marks if (at := text.find(mark)) >= 0]
    return min(found, key=lambda pair: (pair[0], -len(pair[1])), default=(-1, ""))


def joined(events: Iterable[AnswerEvent]) -> list[AnswerEvent]:
    """Return the events with neighbouring pieces of one thing put together and empty ones left out."""
    kept: list[AnswerEvent] = []
    for event in events:
        last = kept[-1] if kept else None
        if isinstance(event, TextDelta | ReasoningDelta | ToolCallArguments) and not event.text:
            continue
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            kept[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            kept[-1] = ReasoningDelta(last.text + event.text)
        elif isinstance(event, ToolCallArguments) and isinstance(last, ToolCallArguments):
            kept[-1] = ToolCallArguments(event.call, last.text + event.text)
        else:
            kept.append(event)
    return kept


State = Callable[[list[AnswerEvent], bool], bool]
"""Reads what it can from the buffer; tells whether there is more to do now. The flag: no text will follow."""


class MarkupReader:
    """Text with calls in it. A form of calls says which marks begin one and how it goes on.

    White space next to calls belongs to the markup, and is dropped.

    Args:
        calls: numbers the calls.
    """

    marks: Sequence[str] = ()
    """What begins a call, or may."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.buffer = ""
        self.after_call = False
        self.space = ""
        """White space before the mark that is being looked at: dropped with a call, else text."""
        self.opened = ""
        """Mark and what follows it, up to the call's own text."""
        self.state: State = self.text

    def push(self, text: str) -> list[AnswerEvent]:
        """Take more text."""
        self.buffer += text
        return self._run(last=False)

    def finish(self) -> list[AnswerEvent]:
        """Take the end; what is left and makes no call is text."""
        return self._run(last=True)

    def _run(self, last: bool) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while self.state(events, last):
            pass
        return joined(events)

    def text(self, events: list[AnswerEvent], last: bool) -> bool:
        """Look for the next call; give out what stands before it."""
        if self.after_call:
            self.buffer = self.buffer.lstrip()
        at, mark = find(self.buffer, self.marks)
        if at >= 0:
            before = self.buffer[:at].rstrip()
            self._give(events, before)
            self.space, self.opened = self.buffer[len(before) : at], mark
            self.buffer = self.buffer[at + len(mark) :]
            self.begin(mark)
            return True
        held = 0 if last else beginning(self.buffer, self.marks)
        sure = self.buffer[: len(self.buffer) - held]
        if not last:
            sure = sure.rstrip()
        self._give(events, sure)
        self.buffer = self.buffer[len(sure) :]
        return False

    def begin(self, mark: str) -> None:
        """Enter the state that reads a call; the buffer begins behind the mark."""
        raise NotImplementedError

    def skip_space(self) -> bool:
        """Move white space from the buffer to ``opened``; tell whether something follows."""
        rest = self.buffer.lstrip()
        self.opened += self.buffer[: len(self.buffer) - len(rest)]
        self.buffer = rest
        return bool(rest)

    def give_up(self, events: list[AnswerEvent], unread: str = "") -> bool:
        """Take the mark for text after all, and look again at what stands behind it."""
        self._give(events, self.space + self.opened)
        self.buffer = unread + self.buffer
        self.state = self.text
        return True

    def called(self) -> bool:
        """Go back to text, behind a call."""
        self.after_call = True
        self.state = self.text
        return True

    def _give(self, events: list[AnswerEvent], text: str) -> None:
        if text:
            events.append(TextDelta(text))
            self.after_call = False
