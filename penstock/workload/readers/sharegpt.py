"""ShareGPT-style JSON: an array (or lines) of conversations, of which the first question and answer are
taken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO, Any

from penstock.workload.readers.lines import Source
from penstock.workload.request import TraceRequest

BYTES_PER_TOKEN = 4
"""Of UTF-8 English text under common vocabularies; give a tokenizer's counter where it matters."""
_CHUNK = 1 << 16
_ASKS = ("human", "user")
_ANSWERS = ("gpt", "assistant", "chatgpt", "bing", "bard")


def estimate(text: str) -> int:
    """Return about how many tokens a text has, without a tokenizer."""
    return max(1, -(-len(text.encode()) // BYTES_PER_TOKEN)) if text else 0


def sharegpt(source: Source, count: Callable[[str], int] = estimate) -> Iterator[TraceRequest]:
    """Read conversations: ``{"conversations": [{"from": "human", "value": ...}, ...]}`` or OpenAI's
    ``messages``.

    A system message before the question counts as prompt. Conversations that do not begin with a question
    and an answer are dropped and counted. All arrive at 0.

    Args:
        source: the file.
        count: tokens of a text.
    """
    with source.open() as file:
        for number, entry in _entries(source, file):
            turns = entry.get("conversations", entry.get("messages")) if isinstance(entry, dict) else None
            if not isinstance(turns, list):
                raise source.wrong(number, "expected an object with conversations or messages")
            pair = _first_pair(turns)
            if pair is None:
                source.report.drop("no question and answer")
                continue
            request = source.request(0.0, count(pair[0]), count(pair[1]))
            if request is not None:
                yield request


def _first_pair(turns: list[Any]) -> tuple[str, str] | None:
    said = []
    for turn in turns:
        if not isinstance(turn, dict):
            return None
        said.append((turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))))
    preface = str(said.pop(0)[1]) if said and said[0][0] == "system" else ""
    if len(said) < 2 or said[0][0] not in _ASKS or said[1][0] not in _ANSWERS:
        return None
    ask, answer = said[0][1], said[1][1]
    return (preface + ask, answer) if isinstance(ask, str) and isinstance(answer, str) else None


def _entries(source: Source, file: IO[str]) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) of a JSON array, or of one JSON value after another, without reading the whole
    file."""
    decoder, buffer, line, ended = json.JSONDecoder(), "", 1, False
    first = True
    while True:
        stripped = buffer.lstrip(" \t\r\n,[" if first else " \t\r\n,")
        line += buffer[: len(buffer) - len(stripped)].count("\n")
        buffer = stripped
        if buffer and not (ended and buffer.startswith("]")):
            try:
                value, end = decoder.raw_decode(buffer)
            except json.JSONDecodeError as error:
                if ended:
                    raise source.wrong(line + error.lineno - 1, f"not valid JSON: {error.msg}") from None
            else:
                yield line, value
                line += buffer[:end].count("\n")
                buffer, first = buffer[end:], False
                continue
        elif ended:
            return
        more = file.read(max(_CHUNK, len(buffer)))
        ended = not more
        buffer += more
