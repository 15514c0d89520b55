"""How long an answer was asked to be, and how long it is, in the unit of the request."""

import re
from dataclasses import dataclass
from typing import Any

from penstock.zoo.data.base import Turn, norm

_MARKER = re.compile(r"(?:(?<=^)|(?<=\n)|(?<=, ))(?:\d+\. |Part \d+:?\s)")
_SENTENCE = re.compile(r"[.!?]+(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Length:
    """A length: so many ``words``, ``items``, ``sentences``, ``parts``, or ``times`` (of a word repeated)."""

    unit: str
    count: int


def asked_length(turn: Turn) -> Length | None:
    """Return the length that the request of ``turn`` states, or None where it states none."""
    expect: Any = turn.expect
    if turn.skill == "counting":
        return Length("items", len(expect["numbers"]))
    if turn.skill == "lists":
        return Length("items", expect["count"])
    if turn.skill == "lengths":
        return Length(expect["unit"], expect["count"])
    return None


def measured_length(turn: Turn, answer: str) -> int:
    """Return the length of ``answer`` in the unit that the request of ``turn`` asked for.

    Numbers in front of items and headings of parts do not count as words or sentences.

    Raises:
        ValueError: the request states no length.
    """
    asked = asked_length(turn)
    if asked is None:
        raise ValueError(f"a request of skill {turn.skill!r} states no length")
    if asked.unit == "parts":
        return len(re.findall(r"(?m)^Part \d+", answer))
    if asked.unit == "times":
        return f" {norm(answer)} ".replace(" ", "  ").count(
            f" {norm(turn.expect['text']).replace(' ', '  ')} "
        )
    text = _MARKER.sub("", answer.strip())
    if asked.unit == "sentences":
        return len(_SENTENCE.findall(text))
    if asked.unit == "words":
        return len(text.split())
    return len([item for item in re.split(r"\n|, ", text) if norm(item)])


def within(turn: Turn, answer: str, tolerance: float = 0.10) -> bool:
    """Whether ``answer`` is as long as asked, give or take ``tolerance`` of it (a share).

    Raises:
        ValueError: the request states no length.
    """
    asked = asked_length(turn)
    if asked is None:
        raise ValueError(f"a request of skill {turn.skill!r} states no length")
    return abs(measured_length(turn, answer) - asked.count) <= tolerance * asked.count
