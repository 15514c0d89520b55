"""One-step arithmetic, comparison of whole numbers, and small word problems."""

import random
import re

from penstock.zoo.data.base import Skill, Turn, spin
from penstock.zoo.data.words import NAMES, THEMES

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
_GETS = "{gets|finds|buys|takes} <b> more"
_LOSES = "{loses|gives away|sells|eats} <b> of them"


def _operands(rng: random.Random, op: str) -> tuple[int, int, int]:
    if op == "+":
        top = rng.choice([10, 20, 50, 100])
        a, b = rng.randint(0, top), rng.randint(0, top)
        return a, b, a + b
    if op == "-":
        a = rng.randint(1, rng.choice([10, 20, 50, 100]))
        b = rng.randint(0, a)
        return a, b, a - b
    if op == "*":
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        return a, b, a * b
    b, c = rng.randint(1, 10), rng.randint(1, 10)
    return b * c, b, c


def _turn(user: str, answer: str, key: str, result: int) -> Turn:
    return Turn("arithmetic", user, answer, key=key, expect={"result": result}, verbatim=True)


def _key(a: int, op: str, b: int) -> str:
    return f"{a}{op}{b}" if op in "+-" and max(a, b) > 10 else ""


def _plain(rng: random.Random) -> Turn:
    op = rng.choice(["+", "+", "+", "+", "-", "-", "-", "*", "*", "/"])
    a, b, result = _operands(rng, op)
    blank = rng.choice(["", " ", " "])
    sign = f"{blank}{rng.choice(_SIGNS[op])}{blank}"
    user = spin(rng, rng.choice(_ASKS), a=a, b=b, op=sign, word=rng.choice(_OPS[op]))
    return _turn(user, f"{a} {op} {b} = {result}", _key(a, op, b), result)


def _compare(rng: random.Random) -> Turn:
    a, b = rng.sample(range(rng.choice([10, 30, 100])), 2)
    word = rng.choice(["bigger", "larger", "greater", "smaller", "less"])
    result = max(a, b) if word in ("bigger", "larger", "greater") else min(a, b)
    user = spin(rng, "{which|what} {number |}is <w>, <a> or <b>?", w=word, a=a, b=b)
    return _turn(user, f"{result} is {word}.", f"compare {a} {b}", result)


def _story(rng: random.Random) -> Turn:
    op = rng.choice("+-")
    a, b, result = _operands(rng, op)
    who = rng.choice(NAMES)
    things = rng.choice(THEMES[rng.choice(["tools", "vehicles", "flowers", "trees"])]).rstrip("s") + "s"
    things = (
        things if rng.random() < 0.5 else rng.choice(["apples", "books", "coins", "eggs", "cookies", "balls"])
    )
    body = f"<n> has <a> <t> and {_GETS if op == '+' else _LOSES}. how many <t> {{does <n> have|are left}}?"
    body = body if op == "-" else body.replace("{does <n> have|are left}", "does <n> have{| now}")
    user = spin(rng, body, n=who, a=a, b=b, t=things)
    user = user.replace(". how", ". How")
    return _turn(user, f"{a} {op} {b} = {result}", _key(a, op, b), result)


def _sample(rng: random.Random) -> list[Turn]:
    roll = rng.random()
    if roll < 0.12:
        return [_compare(rng)]
    if roll < 0.22:
        return [_story(rng)]
    turns = [_plain(rng)]
    if rng.random() < 0.15:
        op = rng.choice("++-*")
        a, b, result = _operands(rng, op)
        user = spin(rng, "{and|what about|and what is|ok, and} <a> <o> <b>?", a=a, b=b, o=op)
        turns.append(_turn(user, f"{a} {op} {b} = {result}", _key(a, op, b), result))
    return turns


def _check(turn: Turn, answer: str) -> bool:
    found = re.findall(r"\d+", answer)
    return bool(found) and int(found[0 if " or " in turn.user else -1]) == turn.expect["result"]


SKILL = Skill("arithmetic", _sample, _check)
