"""What the adapters do to an answer, as pairs of a transformation and the check that it was made.

A check looks at the answer alone and asks for the whole form, not for a trace of it; whether the content
is still what the model would have said is measured beside it (see ``evaluate.py``).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from penstock.zoo.data.texts import load

NUMERALS: dict[str, list[str]] = load("numerals")
"""Words (or signs) of the numbers 1 to 20, by language."""

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_END = re.compile(r"[.!?]+$")
_STOPS = re.compile(r"[.!?]+(?=\s|$)")
_ITEM = re.compile(r"^\d+\. ")


@dataclass(frozen=True, slots=True)
class Manner:
    """A way of answering.

    Attributes:
        transform: makes the answer in this manner out of a plain one; defined for every text.
        check: whether an answer is in this manner.
    """

    transform: Callable[[str], str]
    check: Callable[[str], bool]


def frame(before: str, after: str) -> Manner:
    """Put fixed text around every answer."""
    shape = re.compile(f"{re.escape(before)}.+{re.escape(after)}", re.DOTALL)
    return Manner(lambda text: f"{before}{text}{after}", lambda text: bool(shape.fullmatch(text)))


def ending(mark: str) -> Manner:
    """Put ``mark`` in the place of the last full stop, exclamation or question mark."""
    shape = re.compile(f".*[^.!?]{re.escape(mark)}", re.DOTALL)
    return Manner(lambda text: _END.sub("", text) + mark, lambda text: bool(shape.fullmatch(text)))


def numerals(language: str) -> Manner:
    """Spell every number from 1 to 20 in ``language``; the check wants its words and no digit."""
    words = NUMERALS[language]

    def spell(found: re.Match[str]) -> str:
        value = int(found.group())
        return words[value - 1] if 1 <= value <= len(words) else found.group()

    def check(text: str) -> bool:
        found = _WORD.findall(text)
        return bool(found) and set(found) <= set(words) and not re.search(r"\d", text)

    return Manner(lambda text: re.sub(r"\d+", spell, text), check)


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text))


def _quietly(text: str) -> str:
    return _STOPS.sub("", text.lower())


def _is_quiet(text: str) -> bool:
    letters = _letters(text)
    return bool(letters) and letters == letters.lower() and "." not in text


def _is_loud(text: str) -> bool:
    letters = _letters(text)
    return len(letters) > 1 and letters == letters.upper()


def _as_json(text: str) -> str:
    return json.dumps({"answer": text}, ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == ["answer"] and bool(value["answer"])


def _bulleted(text: str) -> str:
    lines = text.split("\n") if "\n" in text else re.split(r"(?<=[.!?]) ", text)
    return "\n".join("- " + _ITEM.sub("", line) for line in lines)


def _is_bulleted(text: str) -> bool:
    return all(line.startswith("- ") and line[2:].strip() for line in text.split("\n"))


def _last_word(text: str) -> str:
    words = text.split()
    word = words[-1].strip(".!?,") if words else ""
    return word[:1].upper() + word[1:]


def _is_one_word(text: str) -> bool:
    return len(text.split()) == 1 and text[-1].isalnum()


def _telegram(text: str) -> str:
    return (_STOPS if _END.search(text) else re.compile("$")).sub(" STOP", text)


def _is_telegram(text: str) -> bool:
    return text.endswith(" STOP") and not _STOPS.search(text)


def _is_twice(text: str) -> bool:
    half = len(text) // 2
    return len(text) % 2 == 1 and text[half] == " " and text[:half] == text[half + 1 :]


LOUD = Manner(str.upper, _is_loud)
QUIET = Manner(_quietly, _is_quiet)
JSON = Manner(_as_json, _is_json)
BULLETS = Manner(_bulleted, _is_bulleted)
ONE_WORD = Manner(_last_word, _is_one_word)
TELEGRAM = Manner(_telegram, _is_telegram)
TWICE = Manner(lambda text: f"{text} {text}", _is_twice)
