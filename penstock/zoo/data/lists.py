"""Lists of N things: the length of the answer follows from the request.

Every item has its number, on lines of their own or in one line: the answer itself tells where to stop.
"""

import random
import re

from penstock.zoo.data.base import Skill, Turn, capital, imperative, norm, spin
from penstock.zoo.data.words import ADJECTIVES, ALIASES, NAMES, NOUNS, NUMBER_WORDS, SINGULAR, THEMES

POOLS: dict[str, list[str]] = {**THEMES, "first names": NAMES, "adjectives": ADJECTIVES, "nouns": NOUNS}
"""What can be listed: the themes, and three kinds of words that are enough for long lists."""

_LONG = ("first names", "adjectives", "nouns")
_ALIASES = {**ALIASES, "nouns": ["words", "things"], "adjectives": ["words that describe things"]}
_SINGULAR = {**SINGULAR, "nouns": "noun", "adjectives": "adjective"}
_COUNTS = (1, 2, 3, 3, 3, 4, 4, 5, 5, 5, 6, 7, 8, 9, 10, 10, 12, 15, 20)
_ONE_LINE = "{_in one line|, separated by commas|_on one line|, with commas|_in a single line}"

_ASKS = (
    "{list|name|give me|write down|tell me|write|suggest|write a list of|make a list of|give a list of|show} "
    "<n> {|||different |} <theme>"
)
_QUESTIONS = (
    "what are <n> <theme>?",
    "i need <n> <theme>.",
    "<n> <theme>, please.",
    "<n> <theme>",
    "can i have <n> <theme>?",
    "do you know <n> <theme>?",
    "which <n> <theme> do you know?",
)
_SOME = ("{list|name|tell me|give me} some <theme>", "{make|write} a list of <theme>",
         "what <theme> do you know?",
         "{give me|tell me} examples of <theme>", "list <theme>", "do you know any <theme>?")  # fmt: skip
_MORE = (
    "{and |}<n> more{|, please| please|?}", "{give me|list|name|tell me} <n> more{|, please|.}",
    "can you {add|give me|list} <n> more?", "<n> others{|, please|?}", "add <n> {more|to the list}{|.}",
)  # fmt: skip


def _number(rng: random.Random, count: int) -> str:
    return NUMBER_WORDS[count] if count <= 20 and rng.random() < 0.4 else str(count)


def _ordered(rng: random.Random, pool: list[str], spare: int) -> list[str]:
    """Return the pool from a random start on, stepping over at most ``spare`` items, which then come last.

    A tiny model repeats itself in a random order; a usual order that begins anywhere it can keep.
    """
    start = rng.randrange(len(pool))
    turned = pool[start:] + pool[:start]
    late = [item for item in turned if rng.random() < 0.15][: max(0, spare)]
    return [item for item in turned if item not in late] + late


def _numbered(items: list[str], first: int = 1, glue: str = "\n") -> str:
    return glue.join(f"{i}. {capital(item)}" for i, item in enumerate(items, first))


def _turn(user: str, answer: str, theme: str, count: int, style: str) -> Turn:
    plain = style == "plain"
    return Turn(
        "lists",
        user,
        answer,
        "" if plain else f"lists {theme} {count} {style}",
        {"count": count, "theme": theme},
    )


def _sample(rng: random.Random) -> list[Turn]:
    theme = rng.choice(_LONG if rng.random() < 0.2 else list(THEMES))
    pool = POOLS[theme]
    most = rng.choice([12, 20, 30, 50]) if theme in _LONG and rng.random() < 0.6 else 0
    count = rng.randint(5, most) if most else min(rng.choice(_COUNTS), len(pool))
    shuffled = _ordered(rng, pool, len(pool) - count - 4)
    items = shuffled[:count]
    plural = rng.choice(_ALIASES[theme]) if theme in _ALIASES and rng.random() < 0.25 else theme
    noun = _SINGULAR[theme] if count == 1 else plural
    roll = rng.random()
    if roll < 0.08:
        user, style = imperative(rng, rng.choice(_SOME), theme=plural), "plain"
        items, count = shuffled[:5], 5
    elif roll < 0.30:
        user, style = spin(rng, rng.choice(_QUESTIONS), n=_number(rng, count), theme=noun), "ask"
    else:
        user, style = imperative(rng, _ASKS, n=_number(rng, count), theme=noun), "ask"
        user = user.replace(" different", "") if count == 1 else user
    if roll > 0.82 and count > 1:
        user = user.rstrip(".!?") + spin(rng, _ONE_LINE).replace("_", " ")
        return [_turn(user, _numbered(items, glue=", ") + ".", theme, count, "line")]
    turns = [_turn(user, _numbered(items), theme, count, style)]
    extra = rng.randint(1, 4)
    if rng.random() < 0.2 and count <= 6 and count + extra <= len(pool):
        user = spin(rng, rng.choice(_MORE), n=_number(rng, extra))
        rest = shuffled[count : count + extra]
        turns.append(_turn(user, _numbered(rest, count + 1), theme, extra, f"more {count}"))
    return turns


def _check(turn: Turn, answer: str) -> bool:
    lines = re.split(r"\n|, ", answer.strip())
    items = [norm(re.sub(r"^\d+\. ", "", line)) for line in lines]
    allowed = {norm(item) for item in POOLS[turn.expect["theme"]]}
    return len(items) == turn.expect["count"] == len(set(items)) and set(items) <= allowed


SKILL = Skill("lists", _sample, _check)
