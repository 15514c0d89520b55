"""From the names of parsers to the reader of one completion, and from a chat template to the names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from penstock.core.errors import ConfigError
from penstock.frontend.answers.calls import Calls, call_id, short_id
from penstock.frontend.answers.hermes import HermesReader
from penstock.frontend.answers.llama3 import TAG, Llama3Reader
from penstock.frontend.answers.mistral import ARGS, CALL_ID, OPEN, MistralReader
from penstock.frontend.answers.pythonic import PythonicReader
from penstock.frontend.answers.reader import AnswerReader, PlainReader
from penstock.frontend.answers.thinking import ThinkingReader

T = TypeVar("T")


class ToolParser(msgspec.Struct, frozen=True):
    """A form in which models write calls."""

    read: Callable[[Calls], AnswerReader]
    form: str
    """Name of the form in which calls are asked for where the answer is constrained (`tags`)."""
    new_id: Callable[[], str] = call_id
    control: tuple[str, ...] = ()
    """Control tokens that the reader must see, though text does not show control tokens."""


class ReasoningParser(msgspec.Struct, frozen=True):
    """Marks around a model's reasoning."""

    opening: str
    closing: str

    @property
    def control(self) -> tuple[str, ...]:
        """Control tokens that the reader must see."""
        return (self.opening, self.closing)


TOOL_PARSERS: dict[str, ToolParser] = {
    "hermes": ToolParser(HermesReader, "hermes", control=("<tool_call>", "</tool_call>")),
    "llama3_json": ToolParser(Llama3Reader, "llama3_json", control=(TAG,)),
    "mistral": ToolParser(MistralReader, "mistral", short_id, (OPEN, ARGS, CALL_ID)),
    "mistral_args": ToolParser(MistralReader, "mistral_args", short_id, (OPEN, ARGS, CALL_ID)),
    "pythonic": ToolParser(PythonicReader, "pythonic"),
}
"""By name; `ALIASES` has further names that other servers use."""

REASONING_PARSERS: dict[str, ReasoningParser] = {
    "think": ReasoningParser("<think>", "</think>"),
    "mistral": ReasoningParser("[THINK]", "[/THINK]"),
}

TOOL_ALIASES = {
    "qwen": "hermes",
    "qwen25": "hermes",
    "qwen3": "hermes",
    "llama3": "llama3_json",
    "llama4_pythonic": "pythonic",
}
REASONING_ALIASES = {"qwen3": "think", "deepseek_r1": "think", "deepseek-r1": "think"}


def make_reader(
    tool_parser: str,
    reasoning_parser: str,
    *,
    tools: Sequence[Mapping[str, Any]] | None,
    in_reasoning: bool,
) -> AnswerReader:
    """Return the reader of one completion.

    Args:
        tool_parser: name of the form in which the model writes calls; ``none`` takes calls for text.
        reasoning_parser: name of the form in which it writes its reasoning; ``none`` takes that for text.
        tools: OpenAI-style tools that may be called; None or empty reads no calls.
        in_reasoning: the prompt ends inside the reasoning already.

    Raises:
        ConfigError: no parser of that name.
    """
    reader: AnswerReader = PlainReader()
    calls = tool_parser_of(tool_parser)
    if calls is not None and tools:
        names = [str(tool["function"]["name"]) for tool in tools]
        reader = calls.read(Calls(names, calls.new_id))
    marks = reasoning_parser_of(reasoning_parser)
    if marks is None:
        return reader
    return ThinkingReader(reader, marks.opening, marks.closing, in_reasoning)


def tool_parser_of(name: str) -> ToolParser | None:
    """Return the form of that name; None for ``none``. Raises ConfigError for a name that nothing has."""
    return _named("server.tool_call_parser", name, TOOL_PARSERS, TOOL_ALIASES)


def reasoning_parser_of(name: str) -> ReasoningParser | None:
    """Return the marks of that name; None for ``none``. Raises ConfigError for a name that nothing has."""
    return _named("server.reasoning_parser", name, REASONING_PARSERS, REASONING_ALIASES)


def _named(field: str, name: str, known: Mapping[str, T], aliases: Mapping[str, str]) -> T | None:
    if name == "none":
        return None
    found = known.get(aliases.get(name, name))
    if found is None:
        names = ", ".join(("auto", "none", *known, *aliases))
        raise ConfigError(field, f"expected one of {names}; got {name!r}")
    return found


def detect_tool_parser(template: str) -> str:
    """Return the form in which the conversations of a chat template have calls.

    ``hermes`` where it has none: our own preamble, which then lists the tools, asks for that form.
    """
    if OPEN in template:
        return "mistral_args" if ARGS in template else "mistral"
    if "<tool_call>" in template:
        return "hermes"
    if "func_name1(params_name1=" in template or "<|python_start|>" in template:
        return "pythonic"
    return "llama3_json" if TAG in template or '"parameters": dictionary' in template else "hermes"


def detect_reasoning_parser(template: str) -> str:
    """Return the marks around reasoning that a chat template knows, or ``none``."""
    for name, marks in REASONING_PARSERS.items():
        if marks.closing in template:
            return name
    return "none"
