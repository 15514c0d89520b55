"""``[f(a=1, b="x"), g()]``, a list of calls in Python's form: Llama 3.2 and 4, ToolACE."""

from __future__ import annotations

import re

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.json_text import to_json
from penstock.frontend.answers.markup import MarkupReader
from penstock.frontend.answers.values import as_json

_CALL = re.compile(r"\s*([\w.\-]+)\s*\(\s*(?=\w+\s*=|\))")
_CALL_BEGUN = re.compile(r"\s*(?:([\w.\-]+)\s*(\(\s*(?:\w+\s*)?)?)?")
_KEY = re.compile(r"\s*(\w+)\s*=")
_KEY_BEGUN = re.compile(r"\s*(?:\w+\s*)?")


class PythonicReader(MarkupReader):
    """Passes every argument on when its value is complete. Calls that name no known tool are text."""

    marks = ("[",)

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self._first = True
        self._key = ""
        self._given = 0
        self._value = _Literal()

    def begin(self, mark: str) -> None:
        """Expect the first call."""
        self._first = True
        self.state = self._call

    def _call(self, events: list[AnswerEvent], last: bool) -> bool:
        head = _CALL.match(self.buffer)
        if head is not None and head[1] in self.calls.names:
            events.append(self.calls.start(head[1]))
            self.buffer = self.buffer[head.end() :]
            self._first, self._given = False, 0
            self.state = self._argument
            return True
        begun = None if head else _CALL_BEGUN.fullmatch(self.buffer)
        if begun is not None and not last and (begun[2] is None or begun[1] in self.calls.names):
            return False
        return self.give_up(events) if self._first else self.called()

    def _argument(self, events: list[AnswerEvent], last: bool) -> bool:
        if self.buffer.lstrip().startswith(")"):
            self.buffer = self.buffer.lstrip()[1:]
            self._end(events)
            self.state = self._between
            return True
        key = _KEY.match(self.buffer)
        if key is not None:
            self._key, self._value = key[1], _Literal()
            self.buffer = self.buffer[key.end() :]
            self.state = self._literal
            return True
        if not last and _KEY_BEGUN.fullmatch(self.buffer):
            return False
        self._end(events)
        return self.called()

    def _literal(self, events: list[AnswerEvent], last: bool) -> bool:
        end = self._value.push(self.buffer)
        if end < 0:
            self.buffer = ""
            if last:
                self._give_value(events)
                self._end(events)
            return last and self.called()
        self._give_value(events)
        self.buffer = self.buffer[end:].removeprefix(",")
        self.state = self._argument
        return True

    def _between(self, events: list[AnswerEvent], last: bool) -> bool:
        rest = self.buffer.lstrip()
        if not rest and not last:
            return False
        if rest.startswith(","):
            self.buffer = rest[1:]
            self.state = self._call
            return True
        self.buffer = rest.removeprefix("]")
        return self.called()

    def _give_value(self, events: list[AnswerEvent]) -> None:
        separator = ", " if self._given else "{"
        self._given += 1
        events.append(self.calls.arguments(f"{separator}{to_json(self._key)}: {as_json(self._value.text)}"))

    def _end(self, events: list[AnswerEvent]) -> None:
        events.append(self.calls.arguments("}" if self._given else "{}"))
        events.append(self.calls.end())


class _Literal:
    """Follows a Python literal up to the comma or parenthesis behind it."""

    def __init__(self) -> None:
        self.text = ""
        self._depth = 0
        self._quote = ""
        self._escaped = False

    def push(self, text: str) -> int:
        """Take text; return where the literal ends in it, -1 while it goes on."""
        for at, char in enumerate(text):
            if self._quote:
                if self._escaped:
                    self._escaped = False
                elif char == "\\":
                    self._escaped = True
                elif char == self._quote:
                    self._quote = ""
            elif char in "\"'":
                self._quote = char
            elif char in "([{":
                self._depth += 1
            elif self._depth == 0 and char in ",)":
                self.text += text[:at]
                return at
            elif char in ")]}":
                self._depth -= 1
        self.text += text
        return -1
