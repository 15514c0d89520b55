"""What the forms share in which a call is a JSON object, or a name and an object of arguments."""

from __future__ import annotations

from penstock.frontend.answers.calls import Calls
from penstock.frontend.answers.events import AnswerEvent
from penstock.frontend.answers.json_call import JsonCall
from penstock.frontend.answers.json_text import Span
from penstock.frontend.answers.markup import MarkupReader, State


class ObjectReader(MarkupReader):
    """Reads objects. A form says what begins one (`begin`), and what follows it (`behind`, a state)."""

    bare = False
    """Nothing but its look tells that an object is a call; see `JsonCall`."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self._call = JsonCall(calls, self.bare)
        self._span = Span()
        self._then: State = self.behind

    def expect(self) -> None:
        """Expect an object after white space; anything else makes the mark text."""
        self.state = self._opened

    def enter(self) -> None:
        """Read the object that the buffer begins with."""
        self._call = JsonCall(self.calls, self.bare)
        self.state = self._object

    def enter_arguments(self, events: list[AnswerEvent], name: str, own_id: str, then: State) -> None:
        """Begin a call, read its arguments, which the buffer begins with, and go on with ``then``."""
        events.append(self.calls.start(name, own_id))
        self._span, self._then = Span(), then
        self.state = self._arguments

    def behind(self, events: list[AnswerEvent], last: bool) -> bool:
        """Read what follows a call: the state after it."""
        raise NotImplementedError

    def refused(self, events: list[AnswerEvent], raw: str) -> bool:
        """Take an object that turned out to be no call, of which ``raw`` was read."""
        return self.give_up(events, raw)

    def _opened(self, events: list[AnswerEvent], last: bool) -> bool:
        if not self.skip_space():
            return last and self.give_up(events)
        if not self.buffer.startswith("{"):
            return self.give_up(events)
        self.enter()
        return True

    def _object(self, events: list[AnswerEvent], last: bool) -> bool:
        self.buffer = self._call.push(self.buffer, events)
        if last:
            self._call.finish(events)
        if self._call.broken:
            return self.refused(events, self._call.raw)
        if self._call.done:
            self.state = self.behind
        return self._call.done

    def _arguments(self, events: list[AnswerEvent], last: bool) -> bool:
        piece, end = self._span.take(self.buffer)
        events.append(self.calls.arguments(piece))
        self.buffer = "" if end < 0 else self.buffer[end:]
        if end < 0 and not last:
            return False
        events.append(self.calls.end())
        self.state = self._then
        return True
