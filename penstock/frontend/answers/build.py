"""From the names of parsers to the reader of one completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.frontend.answers.reader import AnswerReader, PlainReader


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
    return PlainReader()
