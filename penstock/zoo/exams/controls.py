"""Controls: take away what a skill must rest on, and it must be gone."""

from collections.abc import Sequence
from dataclasses import replace

from penstock.zoo.data.base import Turn, norm
from penstock.zoo.data.prose import NOT_IN_TEXT
from penstock.zoo.exams.answers import Answerer
from penstock.zoo.exams.grid import DEPTHS, PLAIN, cell, contexts
from penstock.zoo.exams.questions import Question, ask, grade
from penstock.zoo.exams.rows import Row
from penstock.zoo.exams.targets import chunk_questions

MOST_BY_LUCK = 0.05
"""Most of the answers that may name a value which is nowhere in the prompt."""

CHUNKS_IN = 512
"""Tokens of passages, question and answer."""


def without_needle(answerer: Answerer, questions: int, seed: int = 0) -> list[Row]:
    """Ask for pairs that were taken out of their texts.

    Returns:
        Rows: the value said with the pair there, the (absent) value said without it, and the model saying
        that the text does not tell.
    """
    lengths = contexts(answerer.context)[-3:]
    each = max(1, questions // (len(DEPTHS) * len(lengths)))
    there, gone = list[Question](), list[Question]()
    for context in lengths:
        for depth in DEPTHS:
            there += cell(PLAIN, context, depth, each, seed)
            gone += cell(PLAIN, context, depth, each, seed, present=False)
    model = answerer.name
    with_it, without = ask(answerer, there), ask(answerer, gone)
    said = [replace(one, check=_says_value) for one in there]
    absent = [replace(one, check=_says_value) for one in gone]
    owns_up = [replace(one, check=_says_not_there) for one in gone]
    return [
        grade("controls", model, "recall, needle there: value said", said, with_it),
        _lucky(grade("controls", model, "recall, needle removed: value said", absent, without)),
        grade("controls", model, "recall, needle removed: says that it is not there", owns_up, without),
    ]


def shuffled_chunks(answerer: Answerer, questions: int, seed: int = 0) -> list[Row]:
    """Ask two-chunk questions, and ask them again when the passages say other things of the same people.

    What answers right the second time knows the answers or guesses them; it has not read the passages.
    """
    size = min(CHUNKS_IN, answerer.context)
    straight = chunk_questions(size, questions, seed)
    mixed = chunk_questions(size, questions, seed, shuffled=True)
    name, there = answerer.name, "two chunks, as they were: right"
    right = grade("controls", name, there, straight, ask(answerer, straight), labels={"context": size})
    gone, labels = "two chunks, shuffled: the answer of before", {"context": size}
    return [right, _lucky(grade("controls", name, gone, mixed, ask(answerer, mixed), labels=labels))]


def _lucky(row: Row) -> Row:
    return replace(row, target=MOST_BY_LUCK, bound="at most", failures=())


def _says_value(turn: Turn, answer: str) -> bool:
    values: Sequence[str] = turn.expect["values"]
    return all(f" {norm(value)} " in f" {norm(answer)} " for value in values)


def _says_not_there(turn: Turn, answer: str) -> bool:
    return NOT_IN_TEXT in answer
