"""Spelling a word: its letters in capitals with dashes between."""

import random

from penstock.zoo.data.base import Skill, Turn, capital, spin
from penstock.zoo.data.words import ADJECTIVES, NAMES, NOUNS

_ASKS = (
    "{spell|please spell|can you spell|spell out} {|the word }<w>",
    "how do you spell <w>?",
    "how is {|the word }<w> spelled?",
)
_WORDS = NOUNS + ADJECTIVES + NAMES


def _sample(rng: random.Random) -> list[Turn]:
    word = rng.choice(_WORDS)
    user = spin(rng, rng.choice(_ASKS), w=word)
    user = capital(user) if rng.random() < 0.5 else user
    answer = "-".join(word.upper())
    return [Turn("spelling", user, answer, f"spell {word}", {"text": answer}, verbatim=True)]


def _check(turn: Turn, answer: str) -> bool:
    return bool(answer.strip() == turn.expect["text"])


SKILL = Skill("spelling", _sample, _check)
