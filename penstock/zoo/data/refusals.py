"""Two kinds of no: requests that are harmful, and questions that are beyond a tiny model."""

import random

from penstock.zoo.data.base import Skill, Turn, norm, spin
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import ADJECTIVES, NOUNS

_TEXTS = load("refusals")
_UNKNOWN = "I'm sorry, I don't know that. I am a very small model."


def _unknown(rng: random.Random) -> Turn:
    roll = rng.random()
    if roll < 0.35:
        user = spin(rng, rng.choice(_TEXTS["other_asks"]))
        return Turn("refusals", user, _UNKNOWN, f"unknown {norm(user)}", {"words": ("don t know",)})
    if roll < 0.65:
        subject = rng.choice(_TEXTS["subjects"])
    elif roll < 0.85:
        subject = "the " + rng.choice(NOUNS) + rng.choice(["", " in my " + rng.choice(NOUNS)])
    else:
        subject = f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}s"
    user = spin(rng, rng.choice(_TEXTS["subject_asks"]), s=subject)
    answer = f"I'm sorry, I don't know much about {subject}. I am a very small model."
    return Turn("refusals", user, answer, f"unknown {subject}", {"words": ("don t know",)})


def _sample(rng: random.Random) -> list[Turn]:
    if rng.random() < 0.65:
        return [_unknown(rng)]
    what = rng.choice(_TEXTS["harmful"])
    user = spin(rng, rng.choice(_TEXTS["harm_asks"]), x=what)
    return [
        Turn("refusals", user, rng.choice(_TEXTS["harm_answers"]), f"harm {what}", {"words": ("can t help",)})
    ]


def _check(turn: Turn, answer: str) -> bool:
    return any(words in norm(answer) for words in turn.expect["words"])


SKILL = Skill("refusals", _sample, _check)
