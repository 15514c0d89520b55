"""DeepSeek's calls, between marks of their own: ``name<sep>{...}`` from V3.1 on, before that in a fence.

V3 and R1 write ``function<sep>name`` and a fenced block of JSON; both are read, whatever the model's age.
"""

from __future__ import annotations

import re

from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.object_reader import ObjectReader

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"
SEP = "<｜tool▁sep｜>"
FENCE, FENCE_END = "```json", "```"

_FENCED = re.compile(rf"\s*function{SEP}\s*([\w.\-]+)\s*{FENCE}\s*(?=\{{)")
_PLAIN = re.compile(rf"\s*([\w.\-]+){SEP}\s*(?=\{{)")
_LONGEST_HEAD = 512


class DeepSeekReader(ObjectReader):
    """Reads one call after the other; the mark before the first is sometimes forgotten."""

    marks = (CALLS, CALL)

    def begin(self, mark: str) -> None:
        """Expect a call, which may have begun."""
        self.state = self._head if mark == CALL else self._next

    def _next(self, events: list[AnswerEvent], last: bool) -> bool:
        if not self.skip_space():
            return last and self.give_up(events)
        if self.buffer.startswith(CALL):
            self.opened += CALL
            self.buffer = self.buffer[len(CALL) :]
            self.state = self._head
            return True
        return False if CALL.startswith(self.buffer) and not last else self.give_up(events)

    def _head(self, events: list[AnswerEvent], last: bool) -> bool:
        found = _FENCED.match(self.buffer) or _PLAIN.match(self.buffer)
        if found is None:
            return False if _may_be_head(self.buffer) and not last else self.give_up(events)
        if found[1] not in self.calls.names:
            return self.give_up(events)
        self.buffer = self.buffer[found.end() :]
        self.enter_arguments(events, found[1], "", self._closing)
        return True

    def _closing(self, events: list[AnswerEvent], last: bool) -> bool:
        """Drop what closes a call and, after the last one, all of them."""
        rest = self.buffer
        for mark in (FENCE_END, CALL_END, CALLS_END):
            rest = rest.lstrip()
            if not last and mark.startswith(rest) and rest != mark:
                return False
            rest = rest.removeprefix(mark)
        self.buffer = rest
        return self.called()


def _may_be_head(text: str) -> bool:
    """Say whether a text that is no head yet may become one."""
    rest = text.lstrip()
    name = re.match(r"[\w.\-]*", rest)
    assert name is not None
    rest = rest[name.end() :]
    if len(text) > _LONGEST_HEAD or not rest.startswith(SEP):
        return len(text) <= _LONGEST_HEAD and SEP.startswith(rest)
    rest = rest[len(SEP) :].lstrip()
    if not rest or name[0] != "function":
        return not rest
    inner = re.match(r"[\w.\-]*\s*", rest)
    assert inner is not None
    rest = rest[inner.end() :]
    return FENCE.startswith(rest) or (rest.startswith(FENCE) and not rest[len(FENCE) :].strip())
