"""``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``: Hermes, Qwen 2.5 and 3, and many others."""

from __future__ import annotations

from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.object_reader import ObjectReader

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class HermesReader(ObjectReader):
    """Reads calls between tags, in the middle of text or alone."""

    marks = (OPEN,)

    def begin(self, mark: str) -> None:
        """Expect the object."""
        self.expect()

    def behind(self, events: list[AnswerEvent], last: bool) -> bool:
        """Drop the closing tag, if it comes."""
        rest = self.buffer.lstrip()
        if not last and CLOSE.startswith(rest) and rest != CLOSE:
            return False
        self.buffer = rest.removeprefix(CLOSE)
        return self.called()
