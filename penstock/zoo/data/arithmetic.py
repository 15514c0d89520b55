"""One-step arithmetic, comparison of whole numbers, and small word problems."""

import random
import re

from penstock.zoo.data.base import Skill, Turn, spin
from penstock.zoo.data.words import NAMES, THEMES
from penstock.zoo.data.working import by_heart, compute, worked

_ASKS = (
    "{what is|what's|calculate|compute|how much is|tell me|please calculate|work out|can you calculate} "
    "<a><op><b>{|?}",
    "<a><op><b>",
    "<a><op><b> =",
    "<a><op><b> = ?",
    "what is <a> <word> <b>?",
    "{how much is|what is the result of|can you tell me} <a> <word> <b>?",
)
_OPS = {
    "+": ("plus", "plus", "and", "added to"),
    "-": ("minus", "minus", "take away"),
    "*": ("times", "times", "multiplied by"),
    "/": ("divided by", "divided by", "over"),
}
_SIGNS = {"+": "+", "-": "-", "*": "*x", "/": "/"}
_STORIES = {
    "+": "<n> has <a> <t> and {gets|finds|buys|takes} <b> more. How many <t> does <n> have{| now}?",
    "-": "<n> has <a> <t> and {loses|gives away|sells|eats} <b> of them. "
    "How many <t> {does <n> have|are left}?",
    "*": "<n> has <a> {boxes|bags|baskets} with <b> <t> each. How many <t> does <n> have{| in all}?",
    "/": "<n> {shares|divides} <a> <t> {equally |}among <b> friends. How many <t> does each {friend |}get?",
}
_THINGS = ("apples", "books", "coins", "eggs", "cookies", "balls")


def operands(rng: random.Random, op: str) -> tuple[int, int]:
    """Draw what a person would ask for: mostly two digits, sometimes one or three."""
    top = rng.choice([10, 20, 50, 100, 100, 100, 999])
    if op == "+":
        return rng.randint(0, top), rng.randint(0, rng.choice([top, min(top, 100)]))
    if op == "-":
        a = rng.randint(1, top)
        return a, rng.randint(0, rng.choice([a, min(a, 100)]))
    if op == "*":
        if rng.random() < 0.55:
            return rng.randint(0, 12), rng.randint(0, 12)
        pair = rng.randint(11, 99), rng.randint(2, 9)
        return pair if rng.random() < 0.7 else pair[::-1]
    b, c = rng.randint(1, 10), rng.randint(1, 10)
    if rng.random() < 0.4:
        b, c = rng.randint(2, 9), rng.randint(11, 60)
    return b * c, b


def _turn(user: str, a: int, op: str, b: int) -> Turn:
    key = "" if by_heart(a, op, b) else f"{a}{op}{b}"
    expect = {"result": compute(a, op, b)}
    return Turn("arithmetic", user, worked(a, op, b), key=key, expect=expect, verbatim=True)


def _plain(rng: random.Random) -> Turn:
    op = rng.choice("++++---**/")
    a, b = operands(rng, op)
    blank = rng.choice(["", " ", " "])
    sign = f"{blank}{rng.choice(_SIGNS[op])}{blank}"
    user = spin(rng, rng.choice(_ASKS), a=a, b=b, op=sign, word=rng.choice(_OPS[op]))
    return _turn(user, a, op, b)


def _compare(rng: random.Random) -> Turn:
    a, b = rng.sample(range(rng.choice([10, 30, 100, 1000])), 2)
    word = rng.choice(["bigger", "larger", "greater", "smaller", "less"])
    result = max(a, b) if word in ("bigger", "larger", "greater") else min(a, b)
    user = spin(rng, "{which|what} {number |}is <w>, <a> or <b>?", w=word, a=a, b=b)
    expect = {"result": result}
    return Turn("arithmetic", user, f"{result} is {word}.", f"compare {a} {b}", expect, verbatim=True)


def _story(rng: random.Random) -> Turn:
    op = rng.choice("++--*/")
    a, b = operands(rng, op)
    while min(a, b) < 2:
        a, b = operands(rng, op)
    things = rng.choice(THEMES[rng.choice(["tools", "vehicles", "flowers", "trees"])]).rstrip("s") + "s"
    things = things if rng.random() < 0.5 else rng.choice(_THINGS)
    return _turn(spin(rng, _STORIES[op], n=rng.choice(NAMES), a=a, b=b, t=things), a, op, b)


def _sample(rng: random.Random) -> list[Turn]:
    roll = rng.random()
    if roll < 0.10:
        return [_compare(rng)]
    if roll < 0.25:
        return [_story(rng)]
    turns = [_plain(rng)]
    while rng.random() < 0.25 and len(turns) < 4:
        op = rng.choice("++-*")
        a, b = operands(rng, op)
        user = spin(rng, "{and|what about|and what is|ok, and} <a> <o> <b>?", a=a, b=b, o=op)
        turns.append(_turn(user, a, op, b))
    return turns


def _check(turn: Turn, answer: str) -> bool:
    """The result stands last; of a comparison it stands first."""
    found = re.findall(r"\d+", answer)
    return bool(found) and int(found[0 if " or " in turn.user else -1]) == turn.expect["result"]


SKILL = Skill("arithmetic", _sample, _check)
