"""Every skill by itself, and the average that compares models."""

import random
from collections.abc import Callable, Iterable, Sequence

from penstock.zoo.data.base import tokens_of
from penstock.zoo.data.mixture import CHAT_WEIGHTS, SKILLS, conversation
from penstock.zoo.exams.answers import Answerer, Dialogue, Message, Reply
from penstock.zoo.exams.questions import Question, ask, grade, held_out
from penstock.zoo.exams.rows import Row, average

_SLACK = 60

Count = Callable[[str], int]
"""Tokens of a text."""


def known(names: Iterable[str]) -> list[str]:
    """Return ``names``, or all skills if there are none.

    Raises:
        KeyError: one of them is no skill; lists those that are.
    """
    chosen = list(names) or list(SKILLS)
    if unknown := [name for name in chosen if name not in SKILLS]:
        raise KeyError(f"unknown skills {unknown}; known: {sorted(SKILLS)}")
    return chosen


def score_skill(
    answerer: Answerer, name: str, questions: int, seed: int = 0, context: int = 0, count: Count = tokens_of
) -> tuple[Row, list[Reply]]:
    """Ask fresh questions of one skill, greedily; return the share passed, and the replies.

    Args:
        answerer: the model.
        name: the skill.
        questions: how many.
        seed: another seed asks other questions.
        context: tokens of unrelated talk before every question (the system prompt stays in front).
        count: counts them in a text; by default an estimate that is rather too high.
    """
    asked = held_out(name, questions, seed)
    if context:
        rng = random.Random(f"history:{seed}:{name}")
        asked = [_behind(one, history(rng, count, context)) for one in asked]
    replies = ask(answerer, asked)
    return grade("skills", answerer.name, name, asked, replies), replies


def skill_average(model: str, rows: Sequence[Row]) -> Row:
    """Return the mean of the skills, each counting the same."""
    return average("models", model, "skill average", rows)


def history(rng: random.Random, count: Count, tokens: int) -> list[Message]:
    """Return unrelated earlier talk of at most ``tokens`` tokens, and of nearly as many.

    Nothing in it tells the model a fact to remember, so that it never contradicts the question.
    """
    weights = {**CHAT_WEIGHTS, "memory": 0.0}
    weights = {name: weight for name, weight in weights.items() if SKILLS[name].sized is None}
    messages: list[Message] = []
    used = 0
    while used < tokens - _SLACK:
        talk = conversation(rng, "train", weights, 1).messages
        if any(message["role"] not in ("user", "assistant") for message in talk):
            continue  # a system prompt or tools would be about the question too
        messages += talk
        used += sum(_size(message, count) for message in talk)
    while used > tokens and messages:
        used -= sum(_size(message, count) for message in messages[:2])
        messages = messages[2:]
    return messages


def _size(message: Message, count: Count) -> int:
    return count(message["content"]) + 2


def _behind(one: Question, earlier: list[Message]) -> Question:
    messages = list(one.dialogue.messages)
    head = 1 if messages[0]["role"] == "system" else 0
    dialogue = Dialogue([*messages[:head], *earlier, *messages[head:]], one.dialogue.tools)
    return Question(dialogue, one.turn, one.check, one.labels)
