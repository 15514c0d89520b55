"""The readers of all completions of one request, for whoever writes its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.frontend.answers.build import make_reader
from penstock.frontend.answers.events import AnswerEvent, ToolCallStart
from penstock.frontend.answers.reader import AnswerReader
from penstock.frontend.outputs import CompletionOutput


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How the answers of one request are read."""

    tool_parser: str = "none"
    reasoning_parser: str = "none"
    tools: Sequence[Mapping[str, Any]] = ()
    in_reasoning: bool = False


class ReaderSet:
    """One `AnswerReader` per completion.

    Args:
        reading: the request's.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._readers: dict[int, AnswerReader] = {}
        self._called: set[int] = set()

    def read(self, out: CompletionOutput) -> list[AnswerEvent]:
        """Return the events of one delta (or of a whole completion); ends the reader with the completion."""
        reader = self._readers.get(out.index)
        if reader is None:
            made = self._reading
            reader = make_reader(
                made.tool_parser, made.reasoning_parser, tools=made.tools, in_reasoning=made.in_reasoning
            )
            self._readers[out.index] = reader
        events = reader.push(out.text)
        if out.finish_reason is not None:
            events += reader.finish()
        if any(isinstance(event, ToolCallStart) for event in events):
            self._called.add(out.index)
        return events

    def called(self, index: int) -> bool:
        """Say whether a completion has called a tool so far."""
        return index in self._called
