"""The readers of all completions of one request, for whoever writes its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from penstock.frontend.answers.build import make_reader, reasoning_parser_of, tool_parser_of
from penstock.frontend.answers.events import AnswerEvent, ToolCallStart
from penstock.frontend.answers.markup import joined
from penstock.frontend.answers.reader import AnswerReader
from penstock.frontend.answers.thinking import ThinkingReader
from penstock.frontend.outputs import CompletionOutput
from penstock.frontend.text.detokenizer import Detokenizer


class Spelling(Protocol):
    """What is needed of a tokenizer to say which token ends the reasoning."""

    def detokenizer(self, *, skip_special_tokens: bool = True) -> Detokenizer:
        """Return a fresh incremental detokeniser."""
        ...


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How the answers of one request are read."""

    tool_parser: str = "none"
    reasoning_parser: str = "none"
    tools: Sequence[Mapping[str, Any]] = ()
    in_reasoning: bool = False

    def reader(self) -> AnswerReader:
        """Return the reader of one more completion."""
        return make_reader(
            self.tool_parser, self.reasoning_parser, tools=self.tools, in_reasoning=self.in_reasoning
        )

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Control tokens that the readers must see in the text."""
        calls, marks = tool_parser_of(self.tool_parser), reasoning_parser_of(self.reasoning_parser)
        shown = calls.control if calls is not None and (self.tools or calls.always) else ()
        return (*shown, *(marks.control if marks else ()))


class ReaderSet:
    """One `AnswerReader` per completion, and how many tokens of reasoning they saw.

    Args:
        reading: the request's.
        spelling: the model's tokenizer.
    """

    def __init__(self, reading: Reading, spelling: Spelling) -> None:
        self._reading = reading
        self._spelling = spelling
        self._readers: dict[int, AnswerReader] = {}
        self._called: set[int] = set()
        self._pending: dict[int, list[int]] = {}
        """Tokens up to the end of the reasoning, while that has not come."""
        self._counted = 0

    def read(self, out: CompletionOutput) -> list[AnswerEvent]:
        """Return the events of one delta (or of a whole completion); ends the reader with the completion."""
        reader = self._readers.get(out.index)
        if reader is None:
            reader = self._readers[out.index] = self._reading.reader()
        counting = isinstance(reader, ThinkingReader) and reader.undecided
        events = reader.push(out.text)
        if out.finish_reason is not None:
            events = joined([*events, *reader.finish()])
        if counting and isinstance(reader, ThinkingReader):
            self._count(out, reader)
        if any(isinstance(event, ToolCallStart) for event in events):
            self._called.add(out.index)
        return events

    def called(self, index: int) -> bool:
        """Say whether a completion has called a tool so far."""
        return index in self._called

    def reasoning_tokens(self) -> int | None:
        """Return the tokens of reasoning so far, its marks among them; None where none is told apart."""
        if self._reading.reasoning_parser == "none":
            return None
        readers = ((index, self._readers[index]) for index in self._pending)
        thinking = (i for i, reader in readers if isinstance(reader, ThinkingReader) and reader.thought)
        return self._counted + sum(len(self._pending[index]) for index in thinking)

    def _count(self, out: CompletionOutput, reader: ThinkingReader) -> None:
        ids = self._pending.setdefault(out.index, [])
        ids += out.token_ids
        if not reader.undecided:
            del self._pending[out.index]
            self._counted += _until(ids, reader.closing, self._spelling) if reader.thought else 0


def _until(token_ids: Sequence[int], mark: str, spelling: Spelling) -> int:
    """Return how many tokens it takes until the mark is complete."""
    detokenizer, tail = spelling.detokenizer(skip_special_tokens=False), ""
    for count, token in enumerate(token_ids, start=1):
        tail += detokenizer.push(token)
        if mark in tail:
            return count
        tail = tail[-len(mark) :]
    return len(token_ids)
