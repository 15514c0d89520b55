"""``<think>...</think>`` before the answer, with or without the opening tag: it may stand in the prompt."""

from __future__ import annotations

from enum import Enum

from penstock.frontend.answers.events import AnswerEvent, ReasoningDelta
from penstock.frontend.answers.markup import beginning, joined
from penstock.frontend.answers.reader import AnswerReader


class Thinking(Enum):
    """Where a prompt leaves off."""

    OPEN = "open"
    """Inside the reasoning: what comes next belongs to it."""
    CLOSED = "closed"
    """Behind it: the template has written an empty one, so that the model does not think."""
    UNSAID = "unsaid"
    """Before it, if the model thinks at all."""


def thinking_at(prompt: str, opening: str, closing: str, continued: str = "") -> Thinking:
    """Return where a prompt leaves off.

    Args:
        prompt: its text, after the chat template.
        opening: mark that begins reasoning.
        closing: mark that ends it.
        continued: text of the last message, where the answer goes on with it.
    """
    end = prompt.rstrip()
    if end.endswith(opening) or continued.rfind(opening) > continued.rfind(closing):
        return Thinking.OPEN
    return Thinking.CLOSED if end.endswith(closing) or closing in continued else Thinking.UNSAID


class ThinkingReader:
    """Takes the reasoning off the front of an answer and leaves the rest to another reader.

    White space at both ends of the reasoning, and before the answer, belongs to the markup.

    Args:
        answer: reads what follows.
        opening: mark that begins reasoning.
        closing: mark that ends it.
        in_reasoning: the prompt holds the opening mark already.
    """

    def __init__(self, answer: AnswerReader, opening: str, closing: str, in_reasoning: bool) -> None:
        self._answer = answer
        self._marks = (opening, closing)
        self._buffer = ""
        self._in_reasoning = in_reasoning
        self._state = "start"
        self._said = False
        self._thought = False

    @property
    def undecided(self) -> bool:
        """Whether what comes next is reasoning, or may be."""
        return self._state in ("start", "reasoning")

    @property
    def thought(self) -> bool:
        """Whether there was any reasoning, empty or not."""
        return self._in_reasoning or self._thought

    @property
    def closing(self) -> str:
        """The mark that ends the reasoning."""
        return self._marks[1]

    def push(self, text: str) -> list[AnswerEvent]:
        """Take more text."""
        if self._state == "answer":
            return self._answer.push(text)
        self._buffer += text
        return self._read(last=False)

    def finish(self) -> list[AnswerEvent]:
        """Take the end; reasoning that was cut off stays reasoning."""
        return joined([*self._read(last=True), *self._answer.finish()])

    def _read(self, last: bool) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        if self._state == "start":
            self._start(events, last)
        if self._state == "reasoning":
            self._reason(events, last)
        if self._state == "behind":
            self._buffer = self._buffer.lstrip()
            if self._buffer:
                self._hand_over(events)
        return joined(events)

    def _start(self, events: list[AnswerEvent], last: bool) -> None:
        opening, rest = self._marks[0], self._buffer.lstrip()
        if rest.startswith(opening):
            self._thought = True
            self._state, self._buffer = "reasoning", rest[len(opening) :]
        elif opening.startswith(rest) and not last:
            return
        elif self._in_reasoning:
            self._state, self._buffer = "reasoning", rest
        else:
            self._hand_over(events)

    def _reason(self, events: list[AnswerEvent], last: bool) -> None:
        closing = self._marks[1]
        if not self._said:
            self._buffer = self._buffer.lstrip()
        at = self._buffer.find(closing)
        if at >= 0:
            events.append(ReasoningDelta(self._buffer[:at].rstrip()))
            self._state, self._buffer = "behind", self._buffer[at + len(closing) :]
            return
        held = 0 if last else beginning(self._buffer, (closing,))
        sure = self._buffer[: len(self._buffer) - held].rstrip()
        events.append(ReasoningDelta(sure))
        self._said = self._said or bool(sure)
        self._buffer = "" if last else self._buffer[len(sure) :]

    def _hand_over(self, events: list[AnswerEvent]) -> None:
        self._state = "answer"
        rest, self._buffer = self._buffer, ""
        events += self._answer.push(rest)
