"""What the adapters are asked: ordinary questions of the skills, and sums and counts with small numbers."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from penstock.zoo.data import SKILLS
from penstock.zoo.data.base import Split, Turn, draw, spin, split_of, tokens_of
from penstock.zoo.data.working import by_heart, compute, worked

LONGEST = 32
"""Most tokens of a reference answer: short answers make many lessons in little time."""

HIGHEST = 20
"""Largest number that the adapters spell."""

TALK = ("smalltalk", "facts", "facts", "glossary", "yesno", "refusals")
"""Skills that answer in sentences."""

_SUMS = (
    "{what is|what's|calculate|compute|how much is|tell me|work out} <a> <op> <b>{|?}",
    "<a> <op> <b>",
    "<a> <op> <b> = ?",
    "{what is|how much is} <a> <word> <b>?",
)
_COUNTS = (
    "{|please |can you }{count|say the numbers|list the numbers|write the numbers} from <a> to <b>{|.}",
    "count {|up }from <a> to <b>{|, please}",
)
_WORDS = {"+": ("plus", "and"), "-": ("minus", "take away"), "*": ("times", "multiplied by")}
_TRIES = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the plain answer of the model without an adapter.

    Attributes:
        user: the request.
        answer: the reference answer, untransformed.
        verbatim: the request contains text that typing noise must not touch.
    """

    user: str
    answer: str
    verbatim: bool = False


Ask = Callable[[random.Random, Split], Question]
"""Draws one question; its key belongs to the split."""


def _plain(turns: list[Turn]) -> bool:
    turn = turns[-1]
    return len(turns) == 1 and turn.source == "user" and not turn.tools and tokens_of(turn.answer) <= LONGEST


def skill_questions(*names: str, fits: Callable[[str], bool] = bool) -> Ask:
    """Return what draws questions of the named skills (a name given twice is drawn twice as often).

    Args:
        names: skills; only their single-turn questions with short answers are drawn.
        fits: which reference answers an adapter has something to do with.
    """

    def ask(rng: random.Random, split: Split) -> Question:
        for _ in range(_TRIES):
            turns = draw(SKILLS[rng.choice(names)], rng, split)
            if _plain(turns) and fits(turns[-1].answer):
                return Question(turns[-1].user, turns[-1].answer, turns[-1].verbatim)
        raise RuntimeError(f"skills {names} yield no {split} question that fits")

    return ask


def _sum(rng: random.Random) -> tuple[str, str]:
    """Draw a sum that is answered by heart, not place by place."""
    while True:
        op, a, b = rng.choice("+++---*"), rng.randint(1, HIGHEST), rng.randint(1, HIGHEST)
        if by_heart(a, op, b) and not (op == "-" and b > a) and 1 <= compute(a, op, b) <= HIGHEST:
            break
    user = spin(rng, rng.choice(_SUMS), a=a, b=b, op=op, word=rng.choice(_WORDS[op]))
    return user, worked(a, op, b)


def _count(rng: random.Random) -> tuple[str, str]:
    first = rng.randint(1, HIGHEST - 3)
    last = first + rng.randint(2, min(6, HIGHEST - first))
    user = spin(rng, rng.choice(_COUNTS), a=first, b=last)
    return user, ", ".join(map(str, range(first, last + 1))) + "."


def number_questions(rng: random.Random, split: Split) -> Question:
    """Draw a sum or a count whose numbers all lie from 1 to 20, the operands too."""
    while True:
        user, answer = (_sum if rng.random() < 0.6 else _count)(rng)
        if split_of(f"adapters {answer}") == split:
            return Question(user, answer, verbatim=True)


def either(*asks: Ask) -> Ask:
    """Return what draws from each of ``asks`` equally often."""
    return lambda rng, split: rng.choice(asks)(rng, split)
