"""Questions with their checkers, and what becomes of a model's replies to them."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.zoo.data.base import Split, Turn
from penstock.zoo.data.mixture import SKILLS, Conversation, exam
from penstock.zoo.exams.answers import Answerer, Dialogue, Reply
from penstock.zoo.exams.rows import Failure, Row, share

KEPT = 5
"""Failures kept of every row."""


@dataclass(frozen=True, slots=True)
class Question:
    """One dialogue that waits for an answer.

    Attributes:
        dialogue: what the model sees.
        turn: the question's turn, with the reference answer.
        check: whether an answer to the turn is right.
        labels: coordinates in the grid of an exam.
    """

    dialogue: Dialogue
    turn: Turn
    check: Callable[[Turn, str], bool]
    labels: Mapping[str, Any] = field(default_factory=dict)


def question(talk: Conversation, check: Callable[[Turn, str], bool], **labels: Any) -> Question:
    """Return the last turn of a conversation without its answer as a question."""
    dialogue = Dialogue(talk.messages, tuple(talk.tools))
    return Question(dialogue, talk.turns[-1], check, labels)


def alone(turn: Turn, check: Callable[[Turn, str], bool], **labels: Any) -> Question:
    """Return a turn that stands by itself as a question."""
    return Question(Dialogue([{"role": "user", "content": turn.user}]), turn, check, labels)


def held_out(name: str, count: int, seed: int, split: Split = "test") -> list[Question]:
    """Draw ``count`` fresh questions of one skill; another seed asks others."""
    rng = random.Random(f"evaluate:{seed}:{name}")
    return [question(exam(rng, name, split), SKILLS[name].check) for _ in range(count)]


def ask(answerer: Answerer, questions: Sequence[Question]) -> list[Reply]:
    """Put all questions at once."""
    return answerer.reply([one.dialogue for one in questions])


def right(one: Question, reply: Reply) -> bool:
    """Whether the reply ended by itself and its checker accepts it."""
    return reply.stopped and one.check(one.turn, reply.text)


def grade(
    part: str, model: str, name: str, questions: Sequence[Question], replies: Sequence[Reply], **more: Any
) -> Row:
    """Return the share of right replies; ``more`` are further fields of `Row`."""
    failures: list[Failure] = []
    passed = 0
    for one, reply in zip(questions, replies, strict=True):
        if right(one, reply):
            passed += 1
        elif len(failures) < KEPT:
            failures.append((one.turn.user, one.turn.answer, reply.text))
    stopped = sum(reply.stopped for reply in replies)
    return share(part, model, name, passed, len(questions), stopped=stopped, failures=failures, **more)
