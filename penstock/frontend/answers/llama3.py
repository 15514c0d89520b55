"""``{"name": ..., "parameters": {...}}``, after ``<|python_tag|>`` or bare: Llama 3.1 and later."""

from __future__ import annotations

from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.object_reader import ObjectReader

TAG = "<|python_tag|>"


class Llama3Reader(ObjectReader):
    """Reads objects that name a known tool and its parameters; several stand side by side or after ``;``."""

    marks = (TAG, "{")
    bare = True

    def begin(self, mark: str) -> None:
        """Expect the object; a bare one has begun."""
        if mark == TAG:
            self.expect()
            return
        self.opened, self.buffer = "", mark + self.buffer
        self.enter()

    def refused(self, events: list[AnswerEvent], raw: str) -> bool:
        """Take the brace for text; what stands behind it may hold a call still."""
        self.opened += raw[:1]
        return self.give_up(events, raw[1:])

    def behind(self, events: list[AnswerEvent], last: bool) -> bool:
        """Drop the separator when another call may follow it."""
        rest = self.buffer.lstrip()
        behind = rest[1:].lstrip() if rest[:1] in (";", ",") else rest
        if not last and (not behind or (TAG.startswith(behind) and behind != TAG)):
            return False
        self.buffer = behind if behind.startswith(("{", TAG)) or not behind else rest
        return self.called()
