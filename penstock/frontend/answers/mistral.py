"""``[TOOL_CALLS] [{...}, ...]`` and, from 2025 on, ``[TOOL_CALLS]name[CALL_ID]id[ARGS]{...}``: Mistral."""

from __future__ import annotations

import re

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.json_call import JsonCall
from penstock.frontend.answers.json_text import Span
from penstock.frontend.answers.markup import MarkupReader

OPEN, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"

_NAME = re.compile(r"([\w.\-]+)\s*(?:\[CALL_ID\]\s*(\w*)\s*)?(?:\[ARGS\])?\s*(?=\{)")
_NAME_BEGUN = re.compile(r"([\w.\-]*)\s*(?:\[CALL_ID\]\s*(?:\w*)\s*)?(\[[A-Z_\]]*)?\s*")


class MistralReader(MarkupReader):
    """Reads both forms; which one a model writes depends on its age only."""

    marks = (OPEN,)

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self._call = JsonCall(calls)
        self._span = Span()
        self._listed = 0

    def begin(self, mark: str) -> None:
        """Expect a list or a name."""
        self._listed = 0
        self.state = self._opened

    def _opened(self, events: list[AnswerEvent], last: bool) -> bool:
        if not self.skip_space():
            return last and self.give_up(events)
        if self.buffer.startswith("["):
            self.opened += "["
            self.buffer = self.buffer[1:]
            self.state = self._items
        else:
            self.state = self._name
        return True

    def _items(self, events: list[AnswerEvent], last: bool) -> bool:
        if self._listed:
            self.buffer = self.buffer.lstrip(" \t\r\n,")
        elif not self.skip_space():
            return last and self.give_up(events)
        if self.buffer.startswith("{"):
            self._call = JsonCall(self.calls)
            self.state = self._item
            return True
        if not self._listed:
            return self.give_up(events)
        if not self.buffer and not last:
            return False
        self.buffer = self.buffer.removeprefix("]")
        return self.called()

    def _item(self, events: list[AnswerEvent], last: bool) -> bool:
        self.buffer = self._call.push(self.buffer, events)
        if last:
            self._call.finish(events)
        if self._call.broken:
            if self._listed:
                self.space = self.opened = ""
            return self.give_up(events, self._call.raw)
        if self._call.done:
            self._listed += 1
            self.state = self._items
        return self._call.done

    def _name(self, events: list[AnswerEvent], last: bool) -> bool:
        head = _NAME.match(self.buffer)
        if head is None:
            begun = _NAME_BEGUN.fullmatch(self.buffer)
            possible = begun is not None and (begun[2] is None or _may_become_mark(begun[2]))
            return False if possible and not last else self.give_up(events)
        if head[1] not in self.calls.names:
            return self.give_up(events)
        events.append(self.calls.start(head[1], head[2] or ""))
        self.buffer = self.buffer[head.end() :]
        self._span = Span()
        self.state = self._arguments
        return True

    def _arguments(self, events: list[AnswerEvent], last: bool) -> bool:
        piece, end = self._span.take(self.buffer)
        events.append(self.calls.arguments(piece))
        self.buffer = "" if end < 0 else self.buffer[end:]
        if end < 0 and not last:
            return False
        events.append(self.calls.end())
        return self.called()


def _may_become_mark(text: str) -> bool:
    return ARGS.startswith(text) or CALL_ID.startswith(text)
