"""``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``: Hermes, Qwen 2.5 and 3, and many others."""

from __future__ import annotations

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.json_call import JsonCall
from penstock.frontend.answers.markup import MarkupReader

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class HermesReader(MarkupReader):
    """Reads calls between tags, in the middle of text or alone."""

    marks = (OPEN,)

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self._call = JsonCall(calls)

    def begin(self, mark: str) -> None:
        """Expect the object."""
        self._call = JsonCall(self.calls)
        self.state = self._opened

    def _opened(self, events: list[AnswerEvent], last: bool) -> bool:
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
            return self.give_up(events, self._call.raw)
        if self._call.done:
            self.state = self._closing
        return self._call.done

    def _closing(self, events: list[AnswerEvent], last: bool) -> bool:
        rest = self.buffer.lstrip()
        if not last and CLOSE.startswith(rest) and rest != CLOSE:
            return False
        self.buffer = rest.removeprefix(CLOSE)
        return self.called()
