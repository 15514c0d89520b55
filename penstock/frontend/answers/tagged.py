"""What the forms share in which every argument has tags of its own and strings stand bare between them."""

from __future__ import annotations

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.json_text import to_json
from penstock.frontend.answers.markup import MarkupReader, beginning
from penstock.frontend.answers.values import TEXT, Types, inside_string, value_as_json

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class TaggedReader(MarkupReader):
    """Passes text on as it comes, other values when they are complete. Unknown tools are text.

    A form says how the head and the arguments look, and may trim a line break at both ends of a value.
    """

    marks: tuple[str, ...] = (OPEN,)
    value_end = ""
    """What follows a value."""
    ends: tuple[str, ...] = (CLOSE,)
    """What may follow the last argument."""
    trim = False
    """Whether values stand on lines of their own."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self._name = self._key = ""
        self._given = 0
        self._types: Types = TEXT
        self._fresh = self._key_given = False
        """Whether nothing was read of the value, and whether its key was passed on."""

    def begin(self, mark: str) -> None:
        """Expect the head."""
        self.state = self._head

    def head(self) -> tuple[str, int] | None:
        """Return the name that the buffer begins with and where the arguments begin; None for no head."""
        raise NotImplementedError

    def head_begun(self) -> bool:
        """Whether the buffer may become a head."""
        raise NotImplementedError

    def argument(self, text: str) -> tuple[str, int] | None:
        """Return the key that a text begins with and where its value begins; None if it is no argument."""
        raise NotImplementedError

    def argument_begun(self, text: str) -> bool:
        """Whether a text may become an argument."""
        raise NotImplementedError

    def ended(self, mark: str) -> bool:
        """Go on behind the last argument; ``mark`` is which of ``ends`` stood there, empty if none did."""
        return self.called()

    def _head(self, events: list[AnswerEvent], last: bool) -> bool:
        found = self.head()
        if found is None:
            return False if self.head_begun() and not last else self.give_up(events)
        self._name, at = found
        if self._name not in self.calls.names:
            return self.give_up(events)
        events.append(self.calls.start(self._name))
        self.buffer, self._given = self.buffer[at:], 0
        self.state = self._argument
        return True

    def _argument(self, events: list[AnswerEvent], last: bool) -> bool:
        rest = self.buffer.lstrip()
        found = self.argument(rest)
        if found is not None:
            self._key, at = found
            self._types = self.calls.types(self._name, self._key)
            self._fresh, self._key_given = True, False
            self.buffer = rest[at:]
            self.state = self._value
            return True
        over = next((end for end in self.ends if rest.startswith(end)), None)
        if over is None and not last and (self.argument_begun(rest) or _begins(rest, self.ends)):
            return False
        events.append(self.calls.arguments("}" if self._given else "{}"))
        events.append(self.calls.end())
        self.buffer = rest.removeprefix(over) if over is not None else self.buffer
        return self.ended(over or "")

    def _value(self, events: list[AnswerEvent], last: bool) -> bool:
        if self._fresh and self.buffer:
            self._fresh = False
            if self.trim:
                self.buffer = self.buffer.removeprefix("\n")
        at = self.buffer.find(self.value_end)
        if at >= 0:
            text = self.buffer[:at]
            self._give_value(events, text.removesuffix("\n") if self.trim else text, whole=True)
            self.buffer = self.buffer[at + len(self.value_end) :]
            self.state = self._argument
            return True
        if last:  # cut off: the arguments stay open, so that nobody takes them for complete
            self._give_value(events, self.buffer, whole=False)
            events.append(self.calls.end())
            self.buffer = ""
            return self.called()
        if self._types == TEXT:
            held = beginning(self.buffer, ("\n" * self.trim + self.value_end, self.value_end))
            sure = self.buffer[: len(self.buffer) - held]
            self._give_value(events, sure, whole=False)
            self.buffer = self.buffer[len(sure) :]
        return False

    def _give_value(self, events: list[AnswerEvent], text: str, whole: bool) -> None:
        if not self._key_given:
            self._key_given = True
            quote = '"' if self._types == TEXT else ""
            separator = ", " if self._given else "{"
            self._given += 1
            events.append(self.calls.arguments(f"{separator}{to_json(self._key)}: {quote}"))
        if self._types == TEXT:
            events.append(self.calls.arguments(inside_string(text) + '"' * whole))
        else:
            events.append(self.calls.arguments(value_as_json(text, self._types)))


def _begins(text: str, marks: tuple[str, ...]) -> bool:
    return any(mark.startswith(text) for mark in marks)
