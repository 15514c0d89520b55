"""Counting up, down and in steps."""

import random
import re

from penstock.zoo.data.base import Skill, Turn, imperative
from penstock.zoo.data.words import NUMBER_WORDS


def _word(rng: random.Random, number: int) -> str:
    return NUMBER_WORDS[number] if 0 <= number <= 20 and rng.random() < 0.35 else str(number)


def _sample(rng: random.Random) -> list[Turn]:
    kind = rng.choice(["to", "to", "to", "to", "range", "range", "down", "down", "step"])
    if kind == "to":
        numbers = list(
            range(1, rng.choice([rng.randint(2, 12), rng.randint(3, 20), rng.randint(10, 40)]) + 1)
        )
        body = "count {to|up to|from <one> to|until} <b>"
        slots = {"one": _word(rng, 1), "b": _word(rng, numbers[-1])}
    elif kind == "range":
        start = rng.randint(0, 60)
        numbers = list(range(start, start + rng.randint(2, 15) + 1))
        body = "{count|write the numbers|list the numbers|say the numbers} from <a> to <b>"
        slots = {"a": _word(rng, start), "b": _word(rng, numbers[-1])}
    elif kind == "down":
        start = rng.choice([3, 5, 10, 10, rng.randint(3, 20), rng.randint(10, 30)])
        numbers = list(range(start, rng.choice([0, 1, 1]) - 1, -1))
        body = "count {down|backwards|backward} from <a> to <b>"
        slots = {"a": _word(rng, start), "b": _word(rng, numbers[-1])}
    else:
        step = rng.choice([2, 2, 3, 5, 5, 10, 10])
        numbers = list(range(step, step * rng.randint(3, 12) + 1, step))
        body = "count {by|in} <s> {to|up to} <b>"
        names = {2: "twos", 3: "threes", 5: "fives", 10: "tens"}
        slots = {"s": names[step], "b": str(numbers[-1])}
    answer = ", ".join(map(str, numbers)) + "."
    key = f"count {kind} {numbers[0]} {numbers[-1]} {numbers[1] - numbers[0]}"
    if kind in ("to", "down") and numbers[0] in (1, 3, 5, 10) and numbers[-1] in (0, 1, 3, 5, 10):
        key = ""
    return [Turn("counting", imperative(rng, body, **slots), answer, key=key, expect={"numbers": numbers})]


def _check(turn: Turn, answer: str) -> bool:
    return bool([int(found) for found in re.findall(r"\d+", answer)] == turn.expect["numbers"])


SKILL = Skill("counting", _sample, _check)
