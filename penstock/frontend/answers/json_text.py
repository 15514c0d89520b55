"""JSON text as answers need it: forgiving in what it reads, strict in what it writes."""

from __future__ import annotations

import json
import re
from typing import Any


def to_json(value: Any) -> str | None:
    """Return a value as JSON text, None if it has none.

    UTF-8 can hold the text, whatever escapes the value came from.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return text if encodable(text) else json.dumps(value)
    except (ValueError, TypeError, RecursionError):
        return None


def from_json(text: str) -> Any:
    """Return the value of JSON text, line breaks in its strings forgiven; None for null and for no JSON."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def encodable(text: str) -> bool:
    """Say whether UTF-8 can hold the text: not when an escape has left half a surrogate pair in it."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def as_object(text: str) -> str | None:
    """Return the text of a JSON object if that is what the text is, or nearly."""
    value = from_json(text)
    return to_json(value) if isinstance(value, dict) else None


_CONTROL = re.compile(r"[\x00-\x1f]")


class Span:
    """Follows brackets and strings to find where a JSON value ends."""

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.foreign = False
        """It ended at a ``<``, which JSON has in strings only: markup that follows a broken value."""
        self._string = False
        self._escaped = False

    def end(self, text: str, floor: int = 0) -> int:
        """Return how much of the text belongs to the value, up to where its depth is ``floor``; -1: all."""
        for at, char in enumerate(text):
            if self._string:
                self._in_string(char)
            elif char == '"':
                self._string = True
            elif char in "{[":
                self.depth += 1
            elif char in "}]":
                self.depth -= 1
                if self.depth <= floor:
                    return at + 1
            elif char == "<":
                self.foreign = True
                return at
        return -1

    def take(self, text: str, floor: int = 0) -> tuple[str, int]:
        """Return the text that belongs to the value, control characters in its strings escaped, and `end`.

        Models write line breaks into strings, and grammars let control characters through that JSON does not.
        """
        pieces: list[str] = []
        done = 0
        for found in _CONTROL.finditer(text):
            end = self.end(text[done : found.start()], floor)
            if end >= 0:
                return "".join(pieces) + text[done : done + end], done + end
            char = found[0]
            spelled = f"\\u{ord(char):04x}" if self._string and not self._escaped else char
            pieces += [text[done : found.start()], spelled]
            self._escaped = False
            done = found.end()
        end = self.end(text[done:], floor)
        rest = text[done:] if end < 0 else text[done : done + end]
        return "".join(pieces) + rest, -1 if end < 0 else done + end

    def _in_string(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._string = False
