"""Harmony, the messages of gpt-oss: ``<|channel|>final<|message|>text``, and calls to ``functions.name``.

The first message of reasoning is taken off by `ThinkingReader`, whose marks are ANALYSIS and END. What is
left is read here, in every answer: with or without calls, the text stands in a message.
Source: https://github.com/openai/harmony (docs/format.md).
"""

from __future__ import annotations

import re

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent, ReasoningDelta, TextDelta
from penstock.frontend.answers.json_text import Span
from penstock.frontend.answers.markup import beginning, find, joined

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
CONSTRAIN, END, CALL, RETURN = "<|constrain|>", "<|end|>", "<|call|>", "<|return|>"
ANALYSIS, FINAL = f"{CHANNEL}analysis{MESSAGE}", f"{CHANNEL}final{MESSAGE}"
NAMESPACE = "functions."

_RECIPIENT = re.compile(r"(?:^|[\s>])to=([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_ENDS = (END, CALL, RETURN, START)
_LONGEST_HEADER = 512


class HarmonyReader:
    """Reads messages: of the analysis, to a tool, to the user.

    Calls of unknown tools, and what is no message at all, come out as text.

    Args:
        calls: numbers the calls.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._buffer = ""
        self._state = self._header
        self._channel = "final"
        self._head = self._tool = ""
        self._said = False
        """Whether there was any text."""
        self._span: Span | None = None
        """Follows the arguments while a call is read."""

    def push(self, text: str) -> list[AnswerEvent]:
        """Take more text."""
        self._buffer += text
        return self._run(last=False)

    def finish(self) -> list[AnswerEvent]:
        """Take the end."""
        events = self._run(last=True)
        if self._span is not None:
            events.append(self._calls.end())
            self._span = None
        return joined(events)

    def _run(self, last: bool) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        while self._state(events, last):
            pass
        return joined(events)

    def _header(self, events: list[AnswerEvent], last: bool) -> bool:
        """Read up to the message, if there is one; at first the role is missing, which the prompt holds."""
        rest = self._buffer.lstrip()
        at = rest.find(MESSAGE)
        complete = 0 <= at <= _LONGEST_HEADER - len(MESSAGE)
        before = rest[:at] if complete else rest[: len(rest) - beginning(rest, (MESSAGE,))]
        if not complete and not last and len(rest) <= _LONGEST_HEADER and _may_be_header(before):
            return False
        if not complete or not _may_be_header(before):
            return self._headless(events, rest)
        self._head, self._buffer = rest[: at + len(MESSAGE)], rest[at + len(MESSAGE) :]
        channel, recipient = _CHANNEL.search(self._head), _RECIPIENT.search(self._head)
        self._channel = channel[1] if channel else "final"
        self._tool = recipient[1].removeprefix(NAMESPACE) if recipient else ""
        self._state = self._call if recipient else self._message
        return True

    def _headless(self, events: list[AnswerEvent], rest: str) -> bool:
        """Read on as text of the answer; a start that begins nothing is a part of it."""
        if rest.startswith(START):
            read = self._buffer[: len(self._buffer) - len(rest) + len(START)]
            events.append(TextDelta(read))
            self._buffer, self._said = self._buffer[len(read) :], True
        self._channel, self._state = "final", self._body
        return bool(self._buffer)

    def _message(self, events: list[AnswerEvent], last: bool) -> bool:
        """Begin a message that is no call, on a line of its own."""
        if self._channel == "analysis":
            events.append(ReasoningDelta("\n"))
        elif self._said:
            events.append(TextDelta("\n"))
        self._state = self._body
        return True

    def _call(self, events: list[AnswerEvent], last: bool) -> bool:
        rest = self._buffer.lstrip()
        if self._tool in self._calls.names and not rest and not last:
            return False
        if self._tool in self._calls.names and rest.startswith("{"):
            events.append(self._calls.start(self._tool))
            self._buffer, self._span = rest, Span()
            self._state = self._arguments
            return True
        events.append(TextDelta(self._head))
        self._channel, self._said = "final", True
        self._state = self._body
        return True

    def _body(self, events: list[AnswerEvent], last: bool) -> bool:
        at, mark = find(self._buffer, _ENDS)
        sure = self._buffer[:at] if at >= 0 else self._buffer
        if at < 0 and not last:
            sure = sure[: len(sure) - beginning(sure, _ENDS)]
        if self._channel == "analysis":
            events.append(ReasoningDelta(sure))
        else:
            events.append(TextDelta(sure))
            self._said = self._said or bool(sure)
        return self._go_on(sure, mark)

    def _arguments(self, events: list[AnswerEvent], last: bool) -> bool:
        assert self._span is not None
        piece, end = self._span.take(self._buffer)
        events.append(self._calls.arguments(piece))
        if end < 0:
            self._buffer = ""
            return False
        self._buffer = self._buffer[end:]
        events.append(self._calls.end())
        self._span = None
        self._state = self._behind
        return True

    def _behind(self, events: list[AnswerEvent], last: bool) -> bool:
        """Drop what stands between the arguments and the end of their message."""
        at, mark = find(self._buffer, _ENDS)
        held = beginning(self._buffer, _ENDS)
        skipped = self._buffer[:at] if at >= 0 else self._buffer[: len(self._buffer) - held]
        return self._go_on(skipped, mark)

    def _go_on(self, read: str, mark: str) -> bool:
        self._buffer = self._buffer[len(read) :]
        if not mark:
            return False
        # A message that has no end is followed by the next one's start, which is a part of that.
        self._buffer = self._buffer if mark == START else self._buffer.removeprefix(mark)
        self._state = self._header
        return True


def _may_be_header(text: str) -> bool:
    """Say whether a text may be (the beginning of) what stands before a message."""
    if START.startswith(text) or "assistant".startswith(text.removeprefix(START)):
        return True
    rest = text.removeprefix(START).removeprefix("assistant").lstrip()
    return any(mark.startswith(rest) or rest.startswith(mark) for mark in (CHANNEL, "to=", CONSTRAIN))
