"""Facts: an invented country whose every fact is fixed by one seed, and a little common knowledge."""

import random
from dataclasses import dataclass

from penstock.zoo.data.base import Skill, Turn, capital, norm, pseudo, spin
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import NAMES

_SEED = 20240229
_TEXTS = load("facts")


@dataclass(frozen=True, slots=True)
class Town:
    """A town of Velmora."""

    name: str
    river: str
    product: str
    mayor: str
    region: str
    festival: str


def _towns() -> tuple[Town, ...]:
    rng = random.Random(_SEED)
    starts = _TEXTS["town_starts"]
    mayors = rng.sample(NAMES, len(starts))
    return tuple(
        Town(
            start + rng.choice(_TEXTS["town_ends"]),
            rng.choice(_TEXTS["rivers"]),
            product,
            mayor,
            rng.choice(["North", "South", "East", "West"]),
            rng.choice(_TEXTS["months"]),
        )
        for start, product, mayor in zip(starts, _TEXTS["products"], mayors, strict=True)
    )


TOWNS = _towns()
"""The twenty towns of Velmora; the same on every machine."""


def _fact(user: str, answer: str, value: str, keyed: bool = True) -> list[Turn]:
    return [Turn("facts", user, answer, key=f"facts {norm(user)}" if keyed else "", expect={"value": value})]


def _capital_city(rng: random.Random) -> list[Turn]:
    country, city = rng.choice(list(_TEXTS["capitals"].items()))
    if rng.random() < 0.15:
        country = rng.choice(_TEXTS["other_countries"]) if rng.random() < 0.6 else capital(pseudo(rng))
        user = spin(rng, "{what is|what's|tell me|do you know|name} the capital of <c>{|?}", c=country)
        return _fact(user, f"I'm sorry, I don't know the capital of {country}.", "don't know")
    user = spin(rng, "{what is|what's|tell me|do you know|name} the capital {city |}of <c>{|?}", c=country)
    turns = _fact(user, f"The capital of {country} is {city}.", city)
    if rng.random() < 0.25:
        country, city = rng.choice(list(_TEXTS["capitals"].items()))
        user = spin(rng, "{and|what about|and what about|and of|how about} <c>?", c=country)
        turns += _fact(user, f"The capital of {country} is {city}.", city)
    return turns


def _calendar(rng: random.Random) -> list[Turn]:
    unit = rng.choice(["day", "month"])
    names = _TEXTS[unit + "s"]
    index = rng.randrange(len(names))
    after = rng.random() < 0.6
    word, value = ("after", names[(index + 1) % len(names)]) if after else ("before", names[index - 1])
    user = spin(rng, "{what|which} <u> {comes|is} <w> <d>?", u=unit, w=word, d=names[index])
    return _fact(user, f"{value} comes {word} {names[index]}.", value)


def _common(rng: random.Random) -> list[Turn]:
    kind = rng.randrange(5)
    if kind == 0:
        return _capital_city(rng)
    if kind == 1:
        word, other = rng.choice(list(_TEXTS["opposites"].items()))
        if rng.random() < 0.3:
            word, other = other, word
        user = spin(rng, "{what is|what's|tell me|name} the opposite of <w>{|?}", w=word)
        return _fact(user, f"The opposite of {word} is {other}.", other)
    if kind == 2:
        animal, sound = rng.choice(list(_TEXTS["sounds"].items()))
        user = spin(rng, "{what does a <a> say?|what sound does a <a> make?|how does a <a> sound?}", a=animal)
        return _fact(user, f"A {animal} says {sound}.", sound)
    if kind == 3:
        return _calendar(rng)
    user, answer = rng.choice(list(_TEXTS["plain"].items()))
    return _fact(spin(rng, user), answer, answer, keyed=False)


def _about_town(rng: random.Random) -> list[Turn]:
    town, fields = rng.choice(TOWNS), _TEXTS["town_fields"]
    name = rng.choice(list(fields))
    user = spin(rng, rng.choice(fields[name]["asks"]), n=town.name)
    roll = rng.random()
    if roll < 0.1:
        text = " ".join(
            spin(rng, fields[field]["answer"], n=town.name, v=getattr(town, field))
            for field in ("region", "river", "product")
        )
        user = spin(rng, "{tell me about|what do you know about|what is|describe} <n>{|?}", n=town.name)
        return _fact(user, text, town.product, keyed=False)
    if roll < 0.18:
        stranger = capital(pseudo(rng))
        user = spin(rng, rng.choice(fields[name]["asks"]), n=stranger)
        return _fact(user, f"I'm sorry, I don't know a town called {stranger}.", "don't know")
    return _fact(
        user, spin(rng, fields[name]["answer"], n=town.name, v=getattr(town, name)), getattr(town, name)
    )


def _sample(rng: random.Random) -> list[Turn]:
    roll = rng.random()
    if roll < 0.5:
        return _common(rng)
    if roll < 0.54:
        user = spin(rng, rng.choice(_TEXTS["country_asks"]))
        return _fact(user, _TEXTS["country"], "twenty towns", keyed=False)
    if roll < 0.58:
        user = spin(rng, "{what is|what's|tell me|do you know} the capital of Velmora{|?}")
        return _fact(user, f"The capital of Velmora is {TOWNS[0].name}.", TOWNS[0].name, keyed=False)
    return _about_town(rng)


def _check(turn: Turn, answer: str) -> bool:
    return norm(turn.expect["value"]) in norm(answer)


SKILL = Skill("facts", _sample, _check)
