"""Problems of several steps: chains of instructions, stories, sums of many numbers, groups of things.

The answer does one step a line, checks itself in a paragraph of its own where the problem is long, and ends
with ``Answer: N``, so its length follows the difficulty: the number of operations.
"""

import random
import re
from dataclasses import dataclass

from penstock.zoo.data.base import Skill, Turn, capital, spin
from penstock.zoo.data.words import NAMES
from penstock.zoo.data.working import compute, worked

DIFFICULTIES = range(2, 9)
"""How many operations a problem can have."""

_USUAL = (2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 8)
_CHECKED_FROM, _TWICE_FROM = 4, 6
_INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
_LIMIT = 250
_TIMES = {2: "double it", 3: "triple it"}
_THINGS = ("coins", "apples", "books", "eggs", "cookies", "balls", "cards", "stones")
_HOLDERS = ("boxes", "bags", "baskets", "jars")
_THINK = "{Think first.|Think in think tags.|Use think tags.|Think before you answer.}"


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation on the value so far, and how the problem puts it."""

    words: str
    op: str
    by: int


def _operations(rng: random.Random, value: int, count: int) -> list[tuple[str, int]]:
    """Draw different operations that keep the value whole and between 1 and the limit."""
    drawn = list[tuple[str, int]]()
    while len(drawn) < count:
        op = rng.choice("+++---**/")
        if op in "+-":
            by = rng.randint(1, rng.choice([9, 9, 20, 50]))
        else:
            by = rng.choice([2, 2, 2, 3, 4, 5])
        impossible = (op == "/" and value % by) or (op == "-" and by >= value)
        if impossible or (op, by) in drawn or compute(value, op, by) > _LIMIT:
            continue
        drawn.append((op, by))
        value = compute(value, op, by)
    return drawn


def _instruction(rng: random.Random, op: str, by: int) -> str:
    if op == "+":
        return f"add {by}"
    if op == "-":
        return f"{rng.choice(['subtract', 'take away'])} {by}"
    if op == "*":
        return _TIMES.get(by) or f"multiply by {by}"
    return "halve it" if by == 2 else f"divide by {by}"


def _event(rng: random.Random, name: str, op: str, by: int) -> str:
    if op == "+":
        return f"{name} {rng.choice(['finds', 'gets', 'buys'])} {by} more"
    if op == "-":
        verb, to = rng.choice([("gives", f" to {rng.choice(NAMES)}"), ("loses", ""), ("sells", "")])
        return f"{name} {verb} {by}{to}"
    if op == "*":
        return f"now {name} gets {by} times as many"
    return f"{name} keeps only one of {by} equal parts"


def _lines(start: int, steps: list[_Step], difficulty: int) -> tuple[list[str], int]:
    """Return a line for every step, with the self-checks that its difficulty calls for, and the result."""
    lines, value = list[str](), start
    checked = {len(steps) - 1} if difficulty >= _CHECKED_FROM else set()
    checked |= {2} if len(steps) >= _TWICE_FROM else set()
    for index, step in enumerate(steps):
        words = f"{capital(step.words)}. " if step.words else ""
        lines.append(f"{words}{worked(value, step.op, step.by)}.")
        value = compute(value, step.op, step.by)
        if index in checked:
            again = worked(value, _INVERSE[step.op], step.by)
            lines.append(f"\nWait, let me verify: {again}. That is right.\n")
    return lines, value


def _chain(rng: random.Random, difficulty: int) -> tuple[str, list[str], int, str]:
    start = rng.randint(1, rng.choice([12, 30, 60]))
    drawn = _operations(rng, start, difficulty)
    steps = [_Step(_instruction(rng, op, by), op, by) for op, by in drawn]
    words = [step.words for step in steps]
    form = rng.randrange(3)
    if form == 0:
        body = f"start with {start}, {', '.join(words[:-1])}, and {words[-1]}"
    elif form == 1:
        body = f"take {start}. {'. '.join(map(capital, words))}"
    else:
        body = f"i start with {start}, then i {', '.join(words)}"
    user = spin(rng, "<b>. {What is the result|What do you get|Where do you end}?", b=body)
    lines, value = _lines(start, steps, difficulty)
    key = " ".join(f"{step.op}{step.by}" for step in steps)
    return capital(user), [f"Start with {start}.", *lines], value, f"{start} {key}"


def _story(rng: random.Random, difficulty: int) -> tuple[str, list[str], int, str]:
    name, things = rng.choice(NAMES), rng.choice(_THINGS)
    start = rng.randint(2, rng.choice([20, 60]))
    drawn = _operations(rng, start, difficulty)
    steps = [_Step(_event(rng, name, op, by), op, by) for op, by in drawn]
    first = f"{name} has {start} {things}."
    user = " ".join([first, *(capital(step.words) + "." for step in steps)])
    user += f" How many {things} does {name} have {rng.choice(['now', 'in the end'])}?"
    lines, value = _lines(start, steps, difficulty)
    return user, [first, *lines], value, f"{start} " + " ".join(f"{step.op}{step.by}" for step in steps)


def _sum(rng: random.Random, difficulty: int) -> tuple[str, list[str], int, str]:
    start = value = rng.randint(5, 60)
    steps = list[_Step]()
    for _ in range(difficulty):
        by = rng.randint(1, rng.choice([9, 30, 60]))
        op = "-" if by < value and rng.random() < 0.3 else "+"
        value = compute(value, op, by)
        steps.append(_Step("", op, by))
    terms = f"{start} " + " ".join(f"{step.op} {step.by}" for step in steps)
    user = spin(rng, "{what is|calculate|compute|add up|how much is} <t>{|?}", t=terms)
    lines, value = _lines(start, steps, difficulty)
    return user, lines, value, terms


def _groups(rng: random.Random, difficulty: int) -> tuple[str, list[str], int, str]:
    """Several groups of equal things: k products and k - 1 sums, and a loss where that number is odd."""
    name, things = rng.choice(NAMES), rng.choice(_THINGS)
    holders = rng.sample(_HOLDERS, (difficulty + 1) // 2)
    sizes = [(rng.randint(2, 9), rng.randint(2, 12)) for _ in holders]
    parts = [
        f"{n} {holder} with {size} {things} each" for holder, (n, size) in zip(holders, sizes, strict=True)
    ]
    together = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    lines = [
        f"{capital(part)}. {worked(n, '*', size)}." for part, (n, size) in zip(parts, sizes, strict=True)
    ]
    counts = [n * size for n, size in sizes]
    steps = [_Step("together", "+", count) for count in counts[1:]]
    value, user = sum(counts), f"{name} has {together}."
    if difficulty % 2 == 0:
        lost = rng.randint(1, min(50, value - 1))
        steps.append(_Step(f"{name} gives away {lost}", "-", lost))
        user += f" {name} gives away {lost}."
    user += f" How many {things} does {name} have{rng.choice([' now', ' in the end', ''])}?"
    lines += _lines(counts[0], steps, difficulty)[0]
    value = value - lost if difficulty % 2 == 0 else value
    return user, lines, value, f"{sizes} {steps[-1].op}{steps[-1].by}"


_KINDS = (_chain, _chain, _story, _story, _sum, _groups)


def problem(rng: random.Random, difficulty: int) -> Turn:
    """Return a problem of ``difficulty`` operations, one of :data:`DIFFICULTIES`; ``expect`` holds both."""
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty must be in {DIFFICULTIES}, not {difficulty}")
    make = rng.choice(_KINDS)
    user, lines, value, key = make(rng, difficulty)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
    if rng.random() < 0.15:
        user += " " + spin(rng, _THINK)
        answer = f"<think>\n{text}\n</think>\n\nAnswer: {value}"
    else:
        answer = f"{text}\n\nAnswer: {value}" if difficulty >= _CHECKED_FROM else f"{text}\nAnswer: {value}"
    expect = {"result": value, "difficulty": difficulty}
    return Turn("steps", user, answer, f"steps {make.__name__} {key}", expect, verbatim=True)


def _sample(rng: random.Random) -> list[Turn]:
    return [problem(rng, rng.choice(_USUAL))]


def _check(turn: Turn, answer: str) -> bool:
    """The last line is ``Answer: N`` with the right number."""
    last = answer.strip().rsplit("\n", 1)[-1]
    found = re.fullmatch(r"Answer: (-?\d+)\.?", last.strip())
    return found is not None and int(found.group(1)) == turn.expect["result"]


SKILL = Skill("steps", _sample, _check)
