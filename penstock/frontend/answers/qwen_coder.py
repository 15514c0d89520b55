"""``<tool_call><function=name><parameter=key>value</parameter></function></tool_call>``: Qwen 3 Coder."""

from __future__ import annotations

import re

from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.tagged import CLOSE, OPEN, TaggedReader

FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"

_NAME = re.compile(r"([\w.\-]+)>")
_NAME_BEGUN = re.compile(r"[\w.\-]*")
_KEY = re.compile(r"<parameter=([^<>\n]+)>")
_KEY_BEGUN = re.compile(r"<parameter=[^<>\n]*")


class QwenCoderReader(TaggedReader):
    """Reads calls in the middle of text or alone; the outer tag is often forgotten."""

    marks = (OPEN, FUNCTION)
    value_end = PARAMETER_END
    ends = (FUNCTION_END, CLOSE)
    trim = True

    def begin(self, mark: str) -> None:
        """Expect the function, or its name if it has begun."""
        if mark == FUNCTION:
            super().begin(mark)
        else:
            self.state = self._outer

    def _outer(self, events: list[AnswerEvent], last: bool) -> bool:
        if not self.skip_space():
            return last and self.give_up(events)
        if not self.buffer.startswith(FUNCTION):
            return False if FUNCTION.startswith(self.buffer) and not last else self.give_up(events)
        self.opened += FUNCTION
        self.buffer = self.buffer[len(FUNCTION) :]
        super().begin(FUNCTION)
        return True

    def head(self) -> tuple[str, int] | None:
        """Find the name."""
        found = _NAME.match(self.buffer)
        return None if found is None else (found[1], found.end())

    def head_begun(self) -> bool:
        """Say whether the name may go on."""
        return bool(_NAME_BEGUN.fullmatch(self.buffer))

    def argument(self, text: str) -> tuple[str, int] | None:
        """Find a parameter's name."""
        found = _KEY.match(text)
        return None if found is None else (found[1].strip(), found.end())

    def argument_begun(self, text: str) -> bool:
        """Say whether a parameter's name may follow."""
        return bool(_KEY_BEGUN.fullmatch(text)) or PARAMETER.startswith(text)

    def ended(self, mark: str) -> bool:
        """Drop the outer closing tag, if it comes."""
        if mark == FUNCTION_END:
            self.state = self._closing
            return True
        return self.called()

    def _closing(self, events: list[AnswerEvent], last: bool) -> bool:
        rest = self.buffer.lstrip()
        if not last and CLOSE.startswith(rest) and rest != CLOSE:
            return False
        self.buffer = rest.removeprefix(CLOSE)
        return self.called()
