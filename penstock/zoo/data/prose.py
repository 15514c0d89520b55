"""Texts to read: filler sentences, sentences up to a budget of tokens, and how often to ask about them."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from penstock.zoo.data.base import Turn, capital, split_of, tokens_of
from penstock.zoo.data.copying import sentence
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import ADJECTIVES, NAMES, NOUNS

NOT_IN_TEXT = "not in the text"
"""Ends every answer to a question that the text does not answer."""

SHORTEST, LONGEST = 128, 1900
"""Sizes, in tokens, that a skill with long contexts draws from when nobody gives it a budget."""

TEST_SHARE = 0.25
"""Share of fragments that such a skill draws for the test split, so that neither split is rare."""

_WHOLE = frozenset(load("tokens")["whole_words"])
ADJECTIVE_POOL = tuple(word for word in ADJECTIVES if word in _WHOLE)
NOUN_POOL = tuple(word for word in NOUNS if word in _WHOLE and not word.endswith("s"))
"""Words that are one token: what has to be looked up is told apart by words, not by spelling."""

Found = TypeVar("Found")

_STORIES, _FACTS = load("stories"), load("facts")


def filler(rng: random.Random) -> str:
    """Return a sentence that nothing is asked about."""
    roll = rng.random()
    if roll < 0.6:
        return capital(sentence(rng)) + "."
    plot, name = rng.choice(_STORIES["plots"]), rng.choice(NAMES)
    if roll < 0.75:
        return f"One day {name} {plot['goal']}."
    if roll < 0.85:
        return capital(plot["trouble"]) + "."
    day = rng.choice(_FACTS["days"])
    return f"On {day} {name} {plot['goal']}."


def fill(
    rng: random.Random, spare: int, make: Callable[[random.Random], str] = filler, joint: str = " "
) -> list[str]:
    """Return sentences of ``make`` that together take at most ``spare`` tokens, and nearly as many.

    Args:
        rng: the only source of randomness.
        spare: tokens, by :func:`tokens_of`.
        make: draws a sentence.
        joint: what will stand before every sentence.
    """
    found: list[str] = []
    misses = 0
    while spare > 6 and misses < 4:
        text = make(rng)
        cost = tokens_of(joint + text)
        if cost <= spare:
            found.append(text)
            spare -= cost
        else:
            misses += 1
    return found


def size(rng: random.Random) -> int:
    """Return a size between the shortest and the longest, each octave as often as the other."""
    return round(math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST))))


def questions(rng: random.Random, tokens: int, each: int) -> int:
    """Return how many questions, of ``each`` tokens with the answer, to ask about a text in training.

    Several, for a long text that is asked about once teaches little; at most half of ``tokens``.
    """
    wanted = rng.randint(4, 10) if tokens < 1000 else rng.randint(8, 16)
    return max(1, min(wanted, tokens // (2 * each)))


def coin(rng: random.Random) -> str:
    """Return the split that a fragment is drawn for when its caller does not say."""
    return "test" if rng.random() < TEST_SHARE else "train"


def drawn(
    rng: random.Random, make: Callable[[random.Random], Found], key: Callable[[Found], str], split: str
) -> Found:
    """Return the first of ``make``'s results whose key belongs to ``split``."""
    while True:
        found = make(rng)
        if split_of(key(found)) == split:
            return found


def ask_about(text: str, turn: Turn, intro: str, question_first: bool) -> Turn:
    """Return ``turn`` with the text in its request: after ``intro`` and before the question, or after it."""
    parts = [turn.user, text] if question_first else [intro, text, turn.user]
    return replace(turn, user="\n".join(part for part in parts if part))


def shuffled(rng: random.Random, items: Sequence[str]) -> list[str]:
    """Return ``items`` in random order."""
    return rng.sample(items, len(items))
