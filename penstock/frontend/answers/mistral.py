"""``[TOOL_CALLS] [{...}, ...]`` and, from 2025 on, ``[TOOL_CALLS]name[CALL_ID]id[ARGS]{...}``: Mistral."""

from __future__ import annotations

import re

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.object_reader import ObjectReader

OPEN, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"

_NAME = re.compile(r"([\w.\-]+)\s*(?:\[CALL_ID\]\s*(\w*)\s*)?(?:\[ARGS\])?\s*(?=\{)")
_NAME_BEGUN = re.compile(r"([\w.\-]*)\s*(?:\[CALL_ID\]\s*(?:\w*)\s*)?(\[[A-Z_\]]*)?\s*")


class MistralReader(ObjectReader):
    """Reads both forms; which one a model writes depends on its age only."""

    marks = (OPEN,)

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self._listed = 0

    def begin(self, mark: str) -> None:
        """Expect a list or a name."""
        self._listed = 0
        self.state = self._list_or_name

    def _list_or_name(self, events: list[AnswerEvent], last: bool) -> bool:
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
            self.enter()
            return True
        if not self._listed:
            return self.give_up(events)
        if not self.buffer and not last:
            return False
        self.buffer = self.buffer.removeprefix("]")
        return self.called()

    def refused(self, events: list[AnswerEvent], raw: str) -> bool:
        """Take an item for text; those before it stay calls."""
        if self._listed:
            self.space = self.opened = ""
        return self.give_up(events, raw)

    def behind(self, events: list[AnswerEvent], last: bool) -> bool:
        """Count the item and look for the next."""
        self._listed += 1
        self.state = self._items
        return True

    def _name(self, events: list[AnswerEvent], last: bool) -> bool:
        head = _NAME.match(self.buffer)
        if head is None:
            begun = _NAME_BEGUN.fullmatch(self.buffer)
            possible = begun is not None and (begun[2] is None or _may_become_mark(begun[2]))
            return False if possible and not last else self.give_up(events)
        if head[1] not in self.calls.names:
            return self.give_up(events)
        self.buffer = self.buffer[head.end() :]
        self.enter_arguments(events, head[1], head[2] or "", self._called)
        return True

    def _called(self, events: list[AnswerEvent], last: bool) -> bool:
        return self.called()


def _may_become_mark(text: str) -> bool:
    return ARGS.startswith(text) or CALL_ID.startswith(text)
