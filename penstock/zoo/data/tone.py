"""System prompts: plain ones that change nothing, tones that change every answer, and given names."""

import random
from dataclasses import dataclass, replace

from penstock.zoo.data.arithmetic import SKILL as ARITHMETIC
from penstock.zoo.data.base import Skill, Turn, capital, draw, norm, pseudo, spin
from penstock.zoo.data.glossary import SKILL as GLOSSARY
from penstock.zoo.data.lists import SKILL as LISTS
from penstock.zoo.data.smalltalk import INTENTS
from penstock.zoo.data.smalltalk import SKILL as SMALLTALK
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import NAMES, THEMES
from penstock.zoo.data.world import SKILL as FACTS
from penstock.zoo.data.yesno import SKILL as YESNO

_TEXTS = load("tone")
PLAIN: list[str] = _TEXTS["plain"]
"""System prompts that ask for the ordinary behaviour."""


@dataclass(frozen=True, slots=True)
class Tone:
    """A manner of answering: the prompts that ask for it, and what stands before and after every answer."""

    name: str
    prompts: list[str]
    before: str
    after: str

    def apply(self, turns: list[Turn]) -> list[Turn]:
        """Return the same turns, answered in this tone."""
        return [replace(turn, answer=f"{self.before}{turn.answer}{self.after}") for turn in turns]


TONES = tuple(Tone(name, **fields) for name, fields in _TEXTS["tones"].items())
"""Every tone that the model knows."""

SYSTEM = "system"
"""Skill name of the pseudo-turn that carries a system prompt in a fragment."""


_FRAMED = (GLOSSARY, FACTS, YESNO, LISTS, SMALLTALK, ARITHMETIC)
_ABOUT_ITSELF = {*INTENTS["name"]["answers"], *INTENTS["who"]["answers"]}
_NAMED = 1 / 3


def named(rng: random.Random, asks: int = 1) -> tuple[str, list[Turn]]:
    """Return a system prompt that gives the model a name, and ``asks`` turns that ask for it."""
    name = rng.choice([*NAMES, *_TEXTS["robot_names"]]) if rng.random() < 0.6 else capital(pseudo(rng))
    role = spin(rng, rng.choice(_TEXTS["roles"]), j=rng.choice(THEMES["jobs"]))
    prompt = rng.choice(_TEXTS["named"])
    title = role if "<r>" in prompt else "a helpful assistant"
    turns = list[Turn]()
    for _ in range(asks):
        by_name = rng.random() < 0.6
        ask = spin(rng, rng.choice(INTENTS["name"]["asks"] if by_name else _TEXTS["who_asks"]))
        answer = f"My name is {name}." if by_name else f"I am {name}, {title}."
        turns.append(Turn("tone", ask, answer, f"named {name}", {"has": (name,)}))
    return spin(rng, prompt, n=name, r=role), turns


def under(rng: random.Random, talk: list[Turn]) -> tuple[str, list[Turn]]:
    """Return a system prompt that changes answers, and ``talk`` as it goes under it, to its very end.

    Under a given name the talk stays as it is, and the name is asked for anywhere in it; under a tone every
    answer has the tone.
    """
    if talk and rng.random() >= _NAMED:
        tone = rng.choice(TONES)
        return rng.choice(tone.prompts), tone.apply(talk)
    system, asks = named(rng, rng.choice([1, 1, 2, 3]))
    turns = [turn for turn in talk if turn.answer not in _ABOUT_ITSELF]
    for ask in asks:
        turns.insert(rng.randint(0, len(turns)), ask)
    return system, turns


def _sample(rng: random.Random) -> list[Turn]:
    """Draw a system prompt, some turns under it, and one that is examined."""
    earlier = [
        turn
        for _ in range(rng.choice([0, 0, 0, 1, 2, 4]))
        for turn in draw(rng.choice(_FRAMED), rng, "train")
    ]
    if rng.random() < 0.4:
        system, turns = named(rng)
        earlier = [turn for turn in earlier if turn.answer not in _ABOUT_ITSELF]
        return [Turn(SYSTEM, system, ""), *earlier, *turns]
    tone = rng.choice(TONES)
    *before, last = tone.apply([*earlier, draw(rng.choice(_FRAMED), rng, "train")[0]])
    has = tuple(part for part in (tone.before, tone.after) if part.strip())
    last = replace(last, skill="tone", key=f"tone {tone.name} {norm(last.user)}", expect={"has": has})
    return [Turn(SYSTEM, rng.choice(tone.prompts), ""), *before, last]


def _check(turn: Turn, answer: str) -> bool:
    return all(norm(part) in norm(answer) for part in turn.expect["has"])


SKILL = Skill("tone", _sample, _check)
