"""Counting up, down and in steps, from anywhere to anywhere: where to stop is the skill."""

import random
import re

from penstock.zoo.data.base import Skill, Turn, imperative
from penstock.zoo.data.words import NUMBER_WORDS

_STEPS = {2: "twos", 3: "threes", 4: "fours", 5: "fives", 10: "tens"}
_UP_TO = "count {to|up to|from <a> to|until} <b>"
_RANGE = "{count|count|count up|write the numbers|list the numbers|say the numbers} from <a> to <b>"
_DOWN = "count {down|down|backwards|backward} from <a> to <b>"
_BY = (
    "count {by|in} <s> from <a> to <b>",
    "count from <a> to <b> {by|in} <s>",
    "count from <a> to <b> in steps of <d>",
)
_BY_FROM_STEP = "count {by|in} <s> {to|up to} <b>"


def _word(rng: random.Random, number: int) -> str:
    return NUMBER_WORDS[number] if 0 <= number <= 20 and rng.random() < 0.35 else str(number)


def _size(rng: random.Random) -> int:
    """Draw how many numbers: mostly a line, now and then a hundred and more."""
    return rng.choice([rng.randint(2, 10), rng.randint(3, 20), rng.randint(8, 40), rng.randint(10, 120)])


def _plain(rng: random.Random, kind: str) -> tuple[str, range, int]:
    """Return a request in steps of one, its numbers, and the number it names as the end."""
    size = _size(rng)
    if kind == "to":
        return _UP_TO, range(1, size + 1), size
    if kind == "range":
        start = rng.randint(0, rng.choice([20, 99, 99, 400]))
        return _RANGE, range(start, start + min(size, 60)), start + min(size, 60) - 1
    end = rng.choice([0, 1, 1, 1, rng.randint(2, 90)])
    return _DOWN, range(end + size - 1, end - 1, -1), end


def _stepped(rng: random.Random) -> tuple[str, range, int, int]:
    """Return a request in larger steps, its numbers, the end that it names (not always met), and the step."""
    step = rng.choice([2, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10, 11, 12, 20, 25, 50, 100])
    size = rng.choice([rng.randint(3, 8), rng.randint(4, 16), rng.randint(6, 30)])
    if rng.random() < 0.4 and step in _STEPS:
        return _BY_FROM_STEP, range(step, step * size + 1, step), step * size, step
    start = rng.choice([0, rng.randint(0, 10), rng.randint(1, 60)])
    beyond = rng.randint(1, step - 1) if rng.random() < 0.15 else 0
    last = start + step * (size - 1)
    if rng.random() < 0.3:
        return rng.choice(_BY).replace("count", "count down", 1), range(last, start - 1, -step), start, step
    return rng.choice(_BY), range(start, last + 1, step), last + beyond, step


def _sample(rng: random.Random) -> list[Turn]:
    kind = rng.choice(["to", "to", "to", "range", "range", "down", "down", "step", "step", "step"])
    step = 1
    if kind == "step":
        body, numbers, end, step = _stepped(rng)
    else:
        body, numbers, end = _plain(rng, kind)
    slots = {"a": _word(rng, numbers[0]), "b": _word(rng, end), "s": _STEPS.get(step, f"{step}s"), "d": step}
    key = f"count {numbers[0]} {numbers[-1]} {step}"
    if step == 1 and {numbers[0], numbers[-1]} <= {0, 1, 3, 5, 10}:
        key = ""
    answer = ", ".join(map(str, numbers)) + "."
    expect = {"numbers": list(numbers)}
    return [Turn("counting", imperative(rng, body, **slots), answer, key=key, expect=expect)]


def _check(turn: Turn, answer: str) -> bool:
    return bool([int(found) for found in re.findall(r"\d+", answer)] == turn.expect["numbers"])


SKILL = Skill("counting", _sample, _check)
