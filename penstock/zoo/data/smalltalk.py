"""Greetings, thanks, feelings, jokes, and questions about the model itself."""

import random

from penstock.zoo.data.base import Skill, Turn, norm, spin
from penstock.zoo.data.texts import load

INTENTS: dict[str, dict[str, list[str]]] = load("smalltalk")
"""Intent -> ``asks`` (ways to say it, the plainest first; templates) and ``answers``."""

_WEIGHTS = {"hello": 5, "who": 4, "how": 3, "thanks": 3, "joke": 3, "can": 3, "name": 2, "help": 2, "bye": 2}
_PLAIN = 4
_TEMPLATE = 4
_AGAIN = (
    "another one",
    "one more",
    "another one, please",
    "again",
    "tell me another one",
    "more",
    "another",
    "next",
)


def _answer(rng: random.Random, intent: str) -> str:
    return rng.choice(INTENTS[intent]["answers"])


def _sample(rng: random.Random) -> list[Turn]:
    intent = rng.choices(list(INTENTS), weights=[_WEIGHTS.get(name, 1) for name in INTENTS])[0]
    asks, answers = INTENTS[intent]["asks"], INTENTS[intent]["answers"]
    index = rng.randrange(min(_PLAIN, len(asks)))
    if rng.random() < 0.85:
        index = rng.choices(range(len(asks)), weights=[_TEMPLATE if "{" in ask else 1 for ask in asks])[0]
    ask = spin(rng, asks[index])
    key = "" if index < _PLAIN else f"smalltalk {norm(ask)}"
    if rng.random() < 0.1 and len(ask) > 8 and ask[0].isalpha():
        ask = spin(rng, "{hi|hello|hey|so|ok|well|please|tell me|hi penstock}, <a>", a=ask)
    turns = [Turn("smalltalk", ask, rng.choice(answers), key=key, expect={"answers": answers})]
    while intent in ("joke", "fact") and rng.random() < 0.35:
        told = {turn.answer for turn in turns}
        fresh = [text for text in answers if text not in told]
        if fresh:
            turns.append(
                Turn("smalltalk", rng.choice(_AGAIN), rng.choice(fresh), expect={"answers": answers})
            )
    return turns


def _check(turn: Turn, answer: str) -> bool:
    return norm(answer) in {norm(known) for known in turn.expect["answers"]}


SKILL = Skill("smalltalk", _sample, _check)
