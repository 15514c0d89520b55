"""An invented encyclopaedia, another one for every draw: people, places, cities and things, in passages."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock.zoo.data.base import capital
from penstock.zoo.data.prose import ADJECTIVE_POOL, NOT_IN_TEXT
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import NAMES, THEMES

TEXTS: Mapping[str, Any] = load("chunks")
_POOLS = {
    "cities": THEMES["cities"],
    "colors": THEMES["colors"],
    "names": NAMES,
    "animals": THEMES["animals"],
}
_CITIES = len(THEMES["cities"]) - 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A person, what the person has to do with something, and what is told about that something.

    Attributes:
        person: a first name.
        sort: place, city or thing.
        relation: number of the relation of the person to it, among those of the sort.
        middle: its name.
        values: what is told about it, by the name of the attribute.
    """

    person: str
    sort: str
    relation: int
    middle: str
    values: Mapping[str, str]

    @property
    def link(self) -> Mapping[str, str]:
        """Texts of the relation: fact, phrase, ask."""
        found: Mapping[str, str] = TEXTS["relations"][self.sort][self.relation]
        return found

    @property
    def first(self) -> str:
        """The fact that ties the person to the middle."""
        return fact(self.link["fact"], p=self.person, m=self.middle)

    def second(self, attribute: Mapping[str, str]) -> str:
        """The fact about an attribute; where nothing is told, that it is not in the text."""
        unknown = f"{attribute['unknown']} {NOT_IN_TEXT}".strip()
        return fact(attribute["fact"], m=self.middle, v=self.values.get(attribute["name"], unknown))


def fact(template: str, **slots: str) -> str:
    """Return the sentence of a template that has slots and no alternatives."""
    for name, text in slots.items():
        template = template.replace(f"<{name}>", text)
    return capital(template) + "."


def attributes(sort: str) -> list[dict[str, str]]:
    """Return what can be told about a place, a city or a thing."""
    found: list[dict[str, str]] = TEXTS["attributes"][sort]
    return found


def value(rng: random.Random, pool: str) -> str:
    """Return a value of an attribute."""
    if pool == "years":
        return str(rng.randint(1200, 1999))
    if pool == "counts":
        return str(rng.randint(2, rng.choice((99, 999, 9999))))
    return rng.choice(_POOLS[pool])


def _middle(rng: random.Random, sort: str) -> str:
    if sort == "city":
        return rng.choice(THEMES["cities"])
    return f"the {rng.choice(ADJECTIVE_POOL)} {rng.choice(TEXTS[sort + 's'])}"


def entry(rng: random.Random, taken: Iterable[Entry], sort: str) -> Entry:
    """Draw an entry whose person and middle none of ``taken`` has, with some of the attributes."""
    people = {other.person for other in taken}
    middles = {other.middle for other in taken}
    person = rng.choice([name for name in NAMES if name not in people])
    if sort == "city" and len(middles) >= _CITIES:
        sort = "place"
    middle = _middle(rng, sort)
    while middle in middles:
        middle = _middle(rng, sort)
    told = rng.sample(attributes(sort), rng.randint(2, len(attributes(sort)) - 1))
    values = {attribute["name"]: value(rng, attribute["values"]) for attribute in told}
    return Entry(person, sort, rng.randrange(len(TEXTS["relations"][sort])), middle, values)


def permuted(rng: random.Random, entries: list[Entry]) -> list[Entry]:
    """Return the same entries with all ties cut: nobody keeps his middle, nothing its values.

    Middles move among the entries of a sort, values among those that tell the attribute; one that is alone
    gets another of its kind.
    """
    found = list(entries)
    for sort in TEXTS["relations"]:
        mine = [index for index, item in enumerate(found) if item.sort == sort]
        middles = [found[index].middle for index in mine]
        if len(middles) == 1:
            middles = [entry(rng, found, sort).middle]
        for index, middle in zip(mine, middles[1:] + middles[:1], strict=True):
            found[index] = replace(found[index], middle=middle)
        for attribute in attributes(sort):
            name = attribute["name"]
            holders = [index for index in mine if name in found[index].values]
            old = [found[index].values[name] for index in holders]
            new = old[2:] + old[:2] if len(old) > 2 else [value(rng, attribute["values"]) for _ in old]
            for index, text in zip(holders, new, strict=True):
                found[index] = replace(found[index], values={**found[index].values, name: text})
    return found


def passages(item: Entry) -> tuple[list[str], list[str]]:
    """Return the sentences of the passage about the person, and of the one about the middle."""
    told = [item.second(attribute) for attribute in attributes(item.sort) if attribute["name"] in item.values]
    return [item.first], told
