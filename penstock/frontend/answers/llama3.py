"""``{"name": ..., "parameters": {...}}``, after ``<|python_tag|>`` or bare: Llama 3.1 and later."""

from __future__ import annotations

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.json_call import JsonCall
from penstock.frontend.answers.markup import MarkupReader

TAG = "<|python_tag|>"


class Llama3Reader(MarkupReader):
    """Reads objects that name a known tool and its parameters; several stand side by side or after ``;``."""

    marks = (TAG, "{")

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self._call = JsonCall(calls, bare=True)

    def begin(self, mark: str) -> None:
        """Expect the object; a bare one has begun."""
        self._call = JsonCall(self.calls, bare=True)
        if mark == "{":
            self.opened, self.buffer = "", mark + self.buffer
            self.state = self._object
        else:
            self.state = self._tagged

    def _tagged(self, events: list[AnswerEvent], last: bool) -> bool:
        if not self.skip_space():
            return last and self.give_up(events)
        if not self.buffer.startswith("{"):
            return self.give_up(events)
        self.state = self._object
        return True

    def _object(self, events: list[AnswerEvent], last: bool) -> bool:
        self.buffer = self._call.push(self.buffer, events)
        if last:
            self._call.finish(events)
        if self._call.broken:
            # The brace is text; what stands behind it may hold a call still.
            self.opened += self._call.raw[:1]
            return self.give_up(events, self._call.raw[1:])
        if self._call.done:
            self.state = self._between
        return self._call.done

    def _between(self, events: list[AnswerEvent], last: bool) -> bool:
        """Drop the separator when another call may follow it."""
        rest = self.buffer.lstrip()
        behind = rest[1:].lstrip() if rest[:1] in (";", ",") else rest
        if not last and (not behind or (TAG.startswith(behind) and behind != TAG)):
            return False
        self.buffer = behind if behind.startswith(("{", TAG)) or not behind else rest
        return self.called()
