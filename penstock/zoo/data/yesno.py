"""Questions that are answered by yes or no."""

import random

from penstock.zoo.data.base import Skill, Turn, article, norm, spin
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
    truth = item in THEMES[other] or (theme in ("birds", "fish", "insects") and other == "animals")
    noun, kind = item if theme in _BARE else article(item), article(SINGULAR[other])
    return f"is {noun} {kind}?", truth, f"{noun} is {'' if truth else 'not '}{kind}.", f"isa {item} {other}"


def _compare(rng: random.Random) -> tuple[str, bool, str, str]:
    a, b = rng.sample(range(rng.choice([10, 20, 100])), 2)
    word = rng.choice([*_MORE, "smaller", "less"])
    truth = (a > b) == (word in _MORE)
    return (
        f"is {a} {word} than {b}?",
        truth,
        f"{a} is {'' if truth else 'not '}{word} than {b}.",
        f"compare {a} {b}",
    )


def _parity(rng: random.Random) -> tuple[str, bool, str, str]:
    number, word = rng.randint(0, 100), rng.choice(["even", "odd"])
    truth = (number % 2 == 0) == (word == "even")
    user = spin(rng, "is {|the number }<n> {<w>|an <w> number}?", n=number, w=word)
    return user, truth, f"{number} is {'' if truth else 'not '}{word}.", f"parity {number}"


def _plain(rng: random.Random) -> tuple[str, bool, str, str]:
    truth = rng.random() < 0.5
    return rng.choice(load("facts")["yes" if truth else "no"]) + "?", truth, "", ""


def _sample(rng: random.Random) -> list[Turn]:
    kind = rng.choices((_isa, _compare, _parity, _plain), weights=(45, 17, 12, 26))[0]
    user, truth, why, key = kind(rng)
    word = "Yes" if truth else "No"
    lead = spin(rng, "{|||||yes or no: |answer yes or no: |tell me, |quick question: }")
    short = "yes or no" in lead or not why
    answer = f"{word}." if short else f"{word}, {why}"
    return [Turn("yesno", f"{lead} {user}".strip(), answer, key=key, expect={"truth": truth})]


def _check(turn: Turn, answer: str) -> bool:
    return norm(answer).split(" ")[0] == ("yes" if turn.expect["truth"] else "no")


SKILL = Skill("yesno", _sample, _check)
