"""Questions that are answered by yes or no."""

import random

from penstock.zoo.data.base import Skill, Turn, article, capital, norm, spin
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import SINGULAR, THEMES

_KINDS = (
    "fruits", "vegetables", "animals", "birds", "colors", "countries", "cities", "tools", "instruments",
    "sports", "trees", "metals", "planets", "vehicles", "jobs", "flowers",
)  # fmt: skip
_BARE = {"countries", "cities", "planets", "colors", "sports", "metals"}
_MORE = ("bigger", "greater", "larger")


def _isa(rng: random.Random) -> tuple[str, bool, str, str]:
    theme = rng.choice(_KINDS)
    item = rng.choice(THEMES[theme])
    other = theme if rng.random() < 0.5 else rng.choice(_KINDS)
    truth = item in THEMES[other] or (theme == "birds" and other == "animals")
    noun, kind = item if theme in _BARE else article(item), article(SINGULAR[other])
    known = kind if truth else article(SINGULAR[theme])
    return f"is {noun} {kind}?", truth, f"{noun} is {known}", f"isa {item} {other}"


def member(rng: random.Random) -> tuple[str, bool, str]:
    """Return a question whether a thing is of a kind, its truth, and the key of this fact."""
    question, truth, _, key = _isa(rng)
    return question, truth, key


def _compare(rng: random.Random) -> tuple[str, bool, str, str]:
    a, b = rng.sample(range(rng.choice([10, 20, 100])), 2)
    word = rng.choice([*_MORE, "smaller", "less"])
    truth = (a > b) == (word in _MORE)
    known = word if truth else ("smaller" if word in _MORE else "bigger")
    return f"is {a} {word} than {b}?", truth, f"{a} is {known} than {b}", f"compare {a} {b}"


def _parity(rng: random.Random) -> tuple[str, bool, str, str]:
    number, word = rng.randint(0, 100), rng.choice(["even", "odd"])
    truth = (number % 2 == 0) == (word == "even")
    user = spin(rng, "is {|the number }<n> {<w>|an <w> number}?", n=number, w=word)
    return user, truth, f"{number} is {'odd' if number % 2 else 'even'}", f"parity {number}"


def _plain(rng: random.Random) -> tuple[str, bool, str, str]:
    truth = rng.random() < 0.5
    return rng.choice(load("facts")["yes" if truth else "no"]) + "?", truth, "", ""


def _sample(rng: random.Random) -> list[Turn]:
    """Draw a question; an answer that must be worked out is worked out before it says yes or no."""
    kind = rng.choices((_isa, _compare, _parity, _plain), weights=(45, 17, 12, 26))[0]
    user, truth, known, key = kind(rng)
    lead = spin(rng, "{|||||yes or no: |answer yes or no: |tell me, |quick question: }")
    word = "yes" if truth else "no"
    answer = f"{capital(known)}, so {word}." if known else f"{capital(word)}."
    return [Turn("yesno", f"{lead} {user}".strip(), answer, key=key, expect={"truth": truth})]


def _check(turn: Turn, answer: str) -> bool:
    return norm(answer).split(" ")[-1] == ("yes" if turn.expect["truth"] else "no")


SKILL = Skill("yesno", _sample, _check)
