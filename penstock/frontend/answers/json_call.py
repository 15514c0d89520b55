"""A call written as a JSON object, ``{"name": ..., "arguments": {...}}``, read as it comes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent, TextDelta
from penstock.frontend.answers.json_text import Span, as_object, from_json, to_json

_HEAD = re.compile(
    r'\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,'
    r'\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
"""The order in which arguments can be passed on as they come."""

_FIRST_KEY = re.compile(r'\{\s*"([^"\\]*)"')
_FIRST_KEY_BEGUN = re.compile(r'\{\s*("[^"\\]*)?')
_KEYS = ("name", "type", "id", "arguments", "parameters", "function")


_Phase = Callable[[str, list[AnswerEvent]], str]


class JsonCall:
    """Reads one call; made when its ``{`` is seen.

    ``done`` after the last character of the object; ``broken`` when it turned out to be no call, and then
    ``raw`` is its text so far.

    Args:
        calls: numbers the calls and knows the tools.
        bare: nothing but its look tells that it is a call, so that a first key that no call has settles it.
    """

    def __init__(self, calls: Calls, bare: bool = False) -> None:
        self.raw = ""
        self.done = False
        self.broken = False
        self._calls = calls
        self._bare = bare
        self._span = Span()
        self._phase: _Phase = self._head
        self._tail = ""

    def push(self, text: str, events: list[AnswerEvent]) -> str:
        """Take text; return what does not belong to it any more."""
        while text and not (self.done or self.broken):
            text = self._phase(text, events)
        return text

    def finish(self, events: list[AnswerEvent]) -> None:
        """Take the end of the answer."""
        if self._phase == self._head:
            self.broken = self.broken or not self.done
        elif not self.done:
            if self._phase == self._arguments:
                events.append(self._calls.end())
            self._close(events)

    def _head(self, text: str, events: list[AnswerEvent]) -> str:
        known = len(self.raw)
        end = self._span.end(text)
        whole = end >= 0
        taken = text if not whole else text[:end]
        self.raw += taken
        head = _HEAD.match(self.raw)
        if head is not None:
            return self._streamed(head, text[max(0, head.end() - known) :], events)
        if whole:
            self._decide(events)
            return text[end:]
        if self._bare and self._no_call():
            self.broken = True
        return ""

    def _streamed(self, head: re.Match[str], rest: str, events: list[AnswerEvent]) -> str:
        name = from_json(head[1])
        if name not in self._calls.names:
            self.raw, self.broken = self.raw[: head.end()], True
            return rest
        events.append(self._calls.start(name))
        self._span = Span(depth=1)
        self._phase = self._arguments
        return rest

    def _no_call(self) -> bool:
        key = _FIRST_KEY.match(self.raw)
        if key is not None:
            return key[1] not in _KEYS
        begun = _FIRST_KEY_BEGUN.fullmatch(self.raw)
        if begun is None:
            return True
        return not any(f'"{one}"'.startswith(begun[1] or "") for one in _KEYS)

    def _decide(self, events: list[AnswerEvent]) -> None:
        """Read an object that came in an order in which it had to be complete first."""
        call = from_json(self.raw)
        if isinstance(call, dict) and isinstance(call.get("function"), dict):
            call = call["function"]
        name = call.get("name") if isinstance(call, dict) else None
        arguments = _arguments(call) if isinstance(call, dict) else None
        if arguments is None or not isinstance(name, str) or name not in self._calls.names:
            self.broken = True
            return
        own_id = call.get("id") if isinstance(call.get("id"), str) else ""
        events += [
            self._calls.start(name, own_id or ""),
            self._calls.arguments(arguments),
            self._calls.end(),
        ]
        self.done = True

    def _arguments(self, text: str, events: list[AnswerEvent]) -> str:
        piece, end = self._span.take(text, floor=1)
        events.append(self._calls.arguments(piece))
        if end < 0:
            return ""
        events.append(self._calls.end())
        if self._span.foreign:
            self.done = True
        self._phase = self._members
        return text[end:]

    def _members(self, text: str, events: list[AnswerEvent]) -> str:
        """Skip what follows the arguments in the object."""
        end = self._span.end(text)
        self._tail += text if end < 0 else text[:end]
        if end < 0:
            return ""
        self._close(events)
        return text[end:]

    def _close(self, events: list[AnswerEvent]) -> None:
        self.done = True
        tail = self._tail.strip()
        if tail and tail != "}" and not tail.startswith(","):
            events.append(TextDelta(self._tail))


def _arguments(call: dict[str, Any]) -> str | None:
    given = call.get("arguments", call.get("parameters", {}))
    if given is None:
        return "{}"
    if isinstance(given, str):
        return as_object(given)
    return to_json(given) if isinstance(given, dict) else None
