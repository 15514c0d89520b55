"""Requests with the length of their reference answers: what a length ranker learns from and is tested on."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.zoo.data.base import Split, humanise
from penstock.zoo.data.mixture import SKILLS, Message, exam

PREDICTABLE = ("lists", "counting", "copying", "stories", "yesno")
"""Skills whose questions tell very well how long the answer gets."""

EVERYDAY = (
    *(*PREDICTABLE, "lengths"), *(*PREDICTABLE, "lengths"),
    "steps", "arithmetic", "smalltalk", "facts", "glossary", "refusals",
)  # fmt: skip
"""What a chat server is asked, every mention one weight; two thirds of it tell the length very well."""


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation that waits for an answer, and the reference answer.

    Attributes:
        skill: of the question.
        messages: the last one is the user's.
        answer: what the generator says.
    """

    skill: str
    messages: list[Message]
    answer: str


def foreseeable(
    seed: int | str, split: Split = "train", skills: Sequence[str] = EVERYDAY
) -> Iterator[Request]:
    """Yield requests without end; those of the two splits have no question in common.

    Args:
        seed: of the draw.
        split: which keys are asked.
        skills: drawn evenly; a name that is there twice is drawn twice as often.

    Raises:
        KeyError: an unknown skill.
    """
    if unknown := sorted(set(skills) - set(SKILLS)):
        raise KeyError(f"unknown skills {unknown}; known: {sorted(SKILLS)}")
    rng = random.Random(seed)
    while True:
        name = rng.choice(skills)
        talk = exam(rng, name, split)
        turn = talk.turns[-1]
        if not turn.verbatim:
            talk.messages[-1] = {"role": "user", "content": humanise(rng, talk.messages[-1]["content"])}
        yield Request(name, talk.messages, turn.answer)
