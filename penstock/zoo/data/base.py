"""What every skill generator shares: the turn, the split, phrase templates and human noise."""

import hashlib
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from penstock.zoo.data.texts import load

Split = Literal["train", "test"]

TEST_PERCENT = 8
"""Share of keys that belong to the test split, in percent."""

_INNERMOST = re.compile(r"\{([^{}]*)\}")
_PIECE = re.compile(r" ?[^\W\d_]+| (?=\S)|\S|\n")
_SLOT = re.compile(r"<(\w+)>")


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer.

    Attributes:
        skill: name of the generator.
        user: the request as a person would type it.
        answer: the reference answer.
        key: what decides the split; turns with equal keys are never in both splits. The empty key marks
            material that must be learnt (a greeting, a definition in its plainest wording): train only.
        expect: what the checker of the skill needs (numbers, names, key words).
        verbatim: the request contains text that noise must not touch.
        source: who says ``user``: a person, or the tools that were called in the turn before (then all
            results of that round of calls, joined as the chat template joins them).
        tools: OpenAI function tools offered in this fragment; set on its first turn.
    """

    skill: str
    user: str
    answer: str
    key: str = ""
    expect: Mapping[str, Any] = field(default_factory=dict)
    verbatim: bool = False
    source: Literal["user", "tool"] = "user"
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Skill:
    """A generator of turns with the checker of their answers.

    Attributes:
        name: unique name, as in evaluation tables.
        sample: draws a dialogue fragment (one turn or several that belong together).
        check: whether an answer to the last turn of a fragment is right.
        sized: like ``sample``, but all texts of the fragment together take about, and never more than, so
            many tokens by :func:`tokens_of_turns`. Skills about long contexts have it.
    """

    name: str
    sample: Callable[[random.Random], list[Turn]]
    check: Callable[[Turn, str], bool]
    sized: Callable[[random.Random, int], list[Turn]] | None = None


def split_of(key: str) -> Split:
    """Return the split that ``key`` belongs to; a stable function of the text alone."""
    if not key:
        return "train"
    digest = hashlib.blake2s(key.encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") % 100 < TEST_PERCENT else "train"


def tokens_of(text: str) -> int:
    """Return about how many tokens ``text`` takes: rather a few per cent too many than one too few.

    Needs no tokenizer: a digit, a mark or a word that the zoo's vocabulary has whole is one token, another
    word several by its length, and a blank before a digit or mark one. Fitted to the generators' prose;
    foreign text takes more than it says.
    """
    return math.ceil(sum(_piece_cost(piece) for piece in _PIECE.findall(text)))


def _piece_cost(piece: str) -> float:
    if len(piece.strip()) < 3 or (piece[0] == " " and piece[1:] in _whole_words()):
        return 1.0
    return 0.9 + 0.3 * len(piece)


@cache
def _whole_words() -> frozenset[str]:
    return frozenset(load("tokens")["whole_words"])


def tokens_of_turns(turns: Iterable[Turn]) -> int:
    """Return :func:`tokens_of` the whole fragment, with two control tokens for every message."""
    return sum(tokens_of(turn.user) + tokens_of(turn.answer) + 4 for turn in turns)


def draw(
    skill: Skill, rng: random.Random, split: Split, tries: int = 2000, budget: int | None = None
) -> list[Turn]:
    """Draw a fragment whose last turn belongs to ``split`` (the earlier turns are context).

    Args:
        skill: the generator.
        rng: the only source of randomness.
        split: which keys may occur.
        tries: how many fragments to look at.
        budget: most tokens that the fragment may take; only a skill with ``sized`` heeds it.

    Raises:
        RuntimeError: the skill produced no such fragment in ``tries`` attempts.
    """
    for _ in range(tries):
        turns = skill.sample(rng) if budget is None or skill.sized is None else skill.sized(rng, budget)
        if split_of(turns[-1].key) == split and (
            split == "test" or all(split_of(t.key) == split for t in turns)
        ):
            return turns
    raise RuntimeError(f"skill {skill.name!r} yields no {split} item in {tries} tries")


def spin(rng: random.Random, template: str, **slots: object) -> str:
    """Expand ``{a|b|}`` alternatives (nesting allowed), then fill ``<name>`` slots, then tidy the blanks."""
    text = template
    while "{" in text:
        text = _INNERMOST.sub(lambda match: rng.choice(match.group(1).split("|")), text)
    text = re.sub(r" +", " ", text)
    text = re.sub(r" ([,.!?;:])(?=\s|$)", r"\1", text).strip()
    return _SLOT.sub(lambda match: str(slots[match.group(1)]), text)


def capital(text: str) -> str:
    """Return ``text`` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def article(noun: str) -> str:
    """Return ``noun`` with its indefinite article."""
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun


def pseudo(rng: random.Random) -> str:
    """Return a made-up word of two to four syllables."""
    syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4))]
    return "".join(syllables) + rng.choice(["", "n", "r", "s", "l"])


def norm(text: str) -> str:
    """Return lower-case words of ``text`` only; used for keys and lenient comparison."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _typo(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    spots = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not spots:
        return text
    index = rng.choice(spots)
    word = words[index]
    cut = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        word = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
    elif kind == 1:
        word = word[:cut] + word[cut + 1 :]
    else:
        word = word[:cut] + word[cut] + word[cut:]
    words[index] = word
    return " ".join(words)


def humanise(rng: random.Random, text: str) -> str:
    """Return ``text`` as a hasty person might type it: casing, missing or doubled marks, a typo."""
    roll = rng.random()
    if roll < 0.30:
        text = text.lower()
    elif roll < 0.34:
        text = text.upper()
    elif roll < 0.75:
        text = capital(text)
    roll = rng.random()
    if roll < 0.25:
        text = text.rstrip(".!?")
    elif roll < 0.29 and text[-1:] in "!?":
        text += text[-1]
    elif roll < 0.33:
        text = text.rstrip(".!?") + " :)"
    if rng.random() < 0.07:
        text = _typo(rng, text)
    return text


ASK = (
    "{|||please |can you |could you |could you please |can you please |would you |hey, |hi, |ok, |okay, now |"
    "now |i want you to |i'd like you to |go ahead and |so, |hello, please }"
)
"""Openings that fit before an imperative; blank alternatives keep the plain form frequent."""

TAILS = ("", "", "", "", "", " please", " for me", " now", " thanks", ", please", ", thank you")
"""Endings that fit after an imperative."""


_NOT_IMPERATIVE = ("i ", "i'", "a ", "do ", "can ", "what ", "which ", "story")


def imperative(rng: random.Random, template: str, **slots: object) -> str:
    """Return an imperative request in one of many wrappings, with final punctuation that fits."""
    opening = "" if template.lstrip("{").startswith(_NOT_IMPERATIVE) else spin(rng, ASK)
    question = opening.startswith(("can you", "could you", "would you"))
    mark = "?" if question else rng.choice([".", ".", "", "!"])
    body = spin(rng, template, **slots)
    if body.endswith("?"):
        return body
    return f"{opening} {body}{rng.choice(TAILS)}{mark}".strip()
