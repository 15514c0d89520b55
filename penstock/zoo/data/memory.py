"""Dialogues in which the user tells something and asks for it later."""

import random

from penstock.zoo.data.base import Skill, Turn, capital, norm, pseudo, spin
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import NAMES, NOUNS, THEMES

_THINGS = load("memory")
_POOLS = {"color": "colors", "animal": "animals", "fruit": "fruits", "city": "cities", "job": "jobs"}


def _value(rng: random.Random, kind: str) -> str:
    if kind == "name":
        return rng.choice(NAMES) if rng.random() < 0.6 else capital(pseudo(rng))
    if kind == "age":
        return str(rng.randint(5, 99))
    if kind == "number":
        return str(rng.randint(0, rng.choice([9, 99, 999, 9999])))
    if kind == "word":
        return rng.choice(NOUNS) if rng.random() < 0.6 else pseudo(rng)
    return rng.choice(THEMES[_POOLS[kind]])


def _fact(rng: random.Random, kind: str) -> list[Turn]:
    thing = _THINGS[kind]
    value = _value(rng, kind)
    slots = {"v": value, "V": capital(value)}
    tell = spin(rng, rng.choice(thing["tells"]), **slots)
    reply = spin(rng, thing["reply"], **slots)
    ask = rng.choice(thing["asks"])
    key = f"memory {kind} {norm(value)} {norm(ask)}"
    answer = spin(rng, thing["answer"], **slots)
    return [
        Turn("memory", tell, reply, expect={"value": value}, verbatim=True),
        Turn("memory", ask, answer, key=key, expect={"value": value}),
    ]


def _sample(rng: random.Random) -> list[Turn]:
    first = _fact(rng, rng.choice(["name", "name", "name", *_THINGS]))
    if rng.random() < 0.7:
        return first
    kind = rng.choice([kind for kind in _THINGS if _THINGS[kind] != _THINGS["name"]])
    second = _fact(rng, kind)
    asked = [first[1], second[1]]
    rng.shuffle(asked)
    return [first[0], second[0], *asked] if first[0].user != second[0].user else first


def _check(turn: Turn, answer: str) -> bool:
    return norm(turn.expect["value"]) in norm(answer)


SKILL = Skill("memory", _sample, _check)
