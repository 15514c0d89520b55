"""From the names of parsers to the reader of one completion, and from a chat template to the names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from penstock.core.errors import ConfigError
from penstock.frontend.answers import deepseek, glm, harmony, qwen_coder
from penstock.frontend.answers.calls import Calls, call_id, short_id
from penstock.frontend.answers.deepseek import DeepSeekReader
from penstock.frontend.answers.glm import GlmReader
from penstock.frontend.answers.harmony import HarmonyReader
from penstock.frontend.answers.hermes import HermesReader
from penstock.frontend.answers.llama3 import TAG, Llama3Reader
from penstock.frontend.answers.mistral import ARGS, CALL_ID, OPEN, MistralReader
from penstock.frontend.answers.pythonic import PythonicReader
from penstock.frontend.answers.qwen_coder import QwenCoderReader
from penstock.frontend.answers.reader import AnswerReader, PlainReader, ThoughtlessReader
from penstock.frontend.answers.thinking import ThinkingReader
from penstock.frontend.text.tool_turns import knows

T = TypeVar("T")


class ToolParser(msgspec.Struct, frozen=True):
    """A form in which models write calls."""

    read: Callable[[Calls], AnswerReader]
    form: str
    """Name of the form in which calls are asked for where the answer is constrained (`tags`)."""
    new_id: Callable[[], str] = call_id
    control: tuple[str, ...] = ()
    """Control tokens that the reader must see, though text does not show control tokens."""
    always: bool = False
    """Answers without calls are marked up, too, and must be read."""


class ReasoningParser(msgspec.Struct, frozen=True):
    """Marks around a model's reasoning."""

    opening: str
    closing: str

    @property
    def control(self) -> tuple[str, ...]:
        """Control tokens that the reader must see."""
        return (self.opening, self.closing)


_TAGS = ("<tool_call>", "</tool_call>")
_DEEPSEEK = (
    *(deepseek.CALLS, deepseek.CALLS_END, deepseek.CALL, deepseek.CALL_END),
    deepseek.SEP,
)
_HARMONY = (
    *(harmony.START, harmony.CHANNEL, harmony.MESSAGE, harmony.CONSTRAIN),
    *(harmony.END, harmony.CALL, harmony.RETURN),
)

TOOL_PARSERS: dict[str, ToolParser] = {
    "hermes": ToolParser(HermesReader, "hermes", control=_TAGS),
    "llama3_json": ToolParser(Llama3Reader, "llama3_json", control=(TAG,)),
    "mistral": ToolParser(MistralReader, "mistral", short_id, (OPEN, ARGS, CALL_ID)),
    "mistral_args": ToolParser(MistralReader, "mistral_args", short_id, (OPEN, ARGS, CALL_ID)),
    "pythonic": ToolParser(PythonicReader, "pythonic"),
    "qwen3_coder": ToolParser(QwenCoderReader, "qwen3_coder", control=_TAGS),
    "glm45": ToolParser(GlmReader, "glm45", control=(*_TAGS, *glm.MARKS)),
    "deepseek_v3": ToolParser(DeepSeekReader, "deepseek_v3", control=_DEEPSEEK),
    "deepseek_v31": ToolParser(DeepSeekReader, "deepseek_v31", control=_DEEPSEEK),
    "harmony": ToolParser(HarmonyReader, "harmony", control=_HARMONY, always=True),
}
"""By name; `ALIASES` has further names that other servers use."""

REASONING_PARSERS: dict[str, ReasoningParser] = {
    "think": ReasoningParser("<think>", "</think>"),
    "mistral": ReasoningParser("[THINK]", "[/THINK]"),
    "harmony": ReasoningParser(harmony.ANALYSIS, harmony.END),
}

TOOL_ALIASES = {
    "qwen": "hermes",
    "qwen25": "hermes",
    "qwen3": "hermes",
    "llama3": "llama3_json",
    "llama4_pythonic": "pythonic",
    "qwen3_xml": "qwen3_coder",
    "glm47": "glm45",
    "deepseek_r1": "deepseek_v3",
    "openai": "harmony",
    "gpt_oss": "harmony",
}
REASONING_ALIASES = {
    "qwen3": "think",
    "deepseek_r1": "think",
    "deepseek-r1": "think",
    "glm45": "think",
    "openai_gptoss": "harmony",
    "gpt_oss": "harmony",
}


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
    if calls is not None and (tools or calls.always):
        reader = calls.read(Calls(tools or (), calls.new_id))
    marks = reasoning_parser_of(reasoning_parser)
    if marks is None:
        return ThoughtlessReader(reader) if calls is not None and calls.always else reader
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
    if harmony.CHANNEL in template:
        return "harmony"
    if deepseek.CALLS in template and not knows(template, "tools"):
        return (
            "hermes"  # DeepSeek's first templates write earlier calls, but tell the model of no tools: we do
        )
    if deepseek.CALLS in template:
        return "deepseek_v3" if deepseek.FENCE in template else "deepseek_v31"
    if glm.KEY in template:
        return "glm45"
    if qwen_coder.FUNCTION in template and qwen_coder.PARAMETER in template:
        return "qwen3_coder"
    if "<tool_call>" in template:
        return "hermes"
    if "func_name1(params_name1=" in template or "<|python_start|>" in template:
        return "pythonic"
    return "llama3_json" if TAG in template or '"parameters": dictionary' in template else "hermes"


def detect_reasoning_parser(template: str) -> str:
    """Return the marks around reasoning that a chat template knows, or ``none``."""
    if harmony.CHANNEL in template:
        return "harmony"
    for name, marks in REASONING_PARSERS.items():
        if name != "harmony" and marks.closing in template:  # many have an <|end|>, few have channels
            return name
    return "none"
