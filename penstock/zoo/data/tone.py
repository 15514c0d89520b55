"""System prompts: plain ones that change nothing, tones that change every answer, and given names."""

import random
from dataclasses import dataclass, replace

from penstock.zoo.data.base import Skill, Turn, capital, draw, norm, pseudo, spin
from penstock.zoo.data.glossary import SKILL as GLOSSARY
from penstock.zoo.data.lists import SKILL as LISTS
from penstock.zoo.data.smalltalk import INTENTS
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


def named(rng: random.Random) -> tuple[str, list[Turn]]:
    """Return a system prompt that gives the model a name, and a turn that asks for it."""
    name = rng.choice([*NAMES, *_TEXTS["robot_names"]]) if rng.random() < 0.6 else capital(pseudo(rng))
    role = spin(rng, rng.choice(_TEXTS["roles"]), j=rng.choice(THEMES["jobs"]))
    by_name = rng.random() < 0.6
    ask = rng.choice(INTENTS["name"]["asks"] if by_name else _TEXTS["who_asks"])
    prompt = rng.choice(_TEXTS["named"])
    answer = (
        f"My name is {name}."
        if by_name
        else f"I am {name}, {role if '<r>' in prompt else 'a helpful assistant'}."
    )
    return spin(rng, prompt, n=name, r=role), [Turn("tone", ask, answer, f"named {name}", {"has": (name,)})]


def _sample(rng: random.Random) -> list[Turn]:
    if rng.random() < 0.4:
        system, turns = named(rng)
        return [Turn(SYSTEM, system, ""), *turns]
    tone = rng.choice(TONES)
    turn = tone.apply(draw(rng.choice([GLOSSARY, FACTS, YESNO, LISTS]), rng, "train"))[0]
    has = tuple(part for part in (tone.before, tone.after) if part.strip())
    turn = replace(turn, skill="tone", key=f"tone {tone.name} {norm(turn.user)}", expect={"has": has})
    return [Turn(SYSTEM, rng.choice(tone.prompts), ""), turn]


def _check(turn: Turn, answer: str) -> bool:
    return all(norm(part) in norm(answer) for part in turn.expect["has"])


SKILL = Skill("tone", _sample, _check)
