"""The figures that the project set itself, beside recall (`grid`), and what breaks them down."""

import random
from collections.abc import Sequence
from dataclasses import replace

from penstock.zoo.data import chunks, extraction
from penstock.zoo.data.base import Turn, split_of
from penstock.zoo.data.measure import within
from penstock.zoo.data.mixture import SKILLS
from penstock.zoo.data.steps import DIFFICULTIES, problem
from penstock.zoo.exams.answers import Answerer
from penstock.zoo.exams.grid import ROOM, contexts
from penstock.zoo.exams.questions import Question, alone, ask, grade, held_out
from penstock.zoo.exams.rows import Row, clustered

COPYING, ONE_STEP, MULTI_STEP, LENGTHS = 0.99, 0.95, 0.70, 0.90
JSON_VALID, JSON_FIELDS, TWO_CHUNKS = 0.95, 0.90, 0.80

MEASURED = ("lengths", "lengths", "counting", "lists")
"""Skills whose questions state how long the answer shall be; one mention, one share of the questions."""


def named_targets(answerer: Answerer, questions: int, seed: int = 0) -> list[Row]:
    """Return a row per target, and rows that break some of them down."""
    few = max(1, questions // 4)
    return [
        _one(answerer, "copying", held_out("copying", questions, seed), COPYING),
        *_json(answerer, questions, seed),
        _one(answerer, "one-step arithmetic", held_out("arithmetic", questions, seed), ONE_STEP),
        _one(answerer, "multi-step problems", held_out("steps", questions, seed), MULTI_STEP),
        *_by_difficulty(answerer, few, seed),
        _one(answerer, "length within 10 % of the asked", _measured(questions, seed), LENGTHS),
        _one(answerer, "single-chunk questions", held_out("single_chunk", questions, seed)),
        _one(answerer, "two-chunk questions", held_out("two_chunk", questions, seed), TWO_CHUNKS),
        *_by_size(answerer, max(1, few // 2), seed),
        *_tools(answerer, questions, seed),
    ]


def chunk_questions(tokens: int, count: int, seed: int, shuffled: bool = False) -> list[Question]:
    """Draw two-chunk questions about passages of a size, all answered there; see `chunks.question`."""
    rng = random.Random(f"chunks:{seed}:{tokens}")
    turns = [
        chunks.question(random.Random(rng.getrandbits(64)), tokens - ROOM, 2, shuffled=shuffled)[-1]
        for _ in range(count)
    ]
    return [alone(turn, chunks.TWO.check, context=tokens) for turn in turns]


def _one(
    answerer: Answerer, name: str, asked: Sequence[Question], target: float | None = None, **labels: int
) -> Row:
    replies = ask(answerer, asked)
    return grade("targets", answerer.name, name, asked, replies, target=target, labels=labels)


def _json(answerer: Answerer, questions: int, seed: int) -> list[Row]:
    """Return whether answers fit the schema, and the share of its fields with the right value."""
    asked = [replace(one, check=extraction.valid) for one in held_out("json", questions, seed)]
    replies = ask(answerer, asked)
    pairs = zip(asked, replies, strict=True)
    trials = [extraction.fields(one.turn, reply.text) for one, reply in pairs]
    name = answerer.name
    return [
        grade("targets", name, "JSON validity (unconstrained)", asked, replies, target=JSON_VALID),
        clustered("targets", name, "JSON fields right", trials, target=JSON_FIELDS),
    ]


def _by_difficulty(answerer: Answerer, each: int, seed: int) -> list[Row]:
    rows = []
    for difficulty in DIFFICULTIES:
        rng = random.Random(f"steps:{seed}:{difficulty}")
        asked = [alone(_held_out_problem(rng, difficulty), SKILLS["steps"].check) for _ in range(each)]
        rows.append(_one(answerer, f"  of {difficulty} steps", asked, difficulty=difficulty))
    return rows


def _held_out_problem(rng: random.Random, difficulty: int) -> Turn:
    while split_of((turn := problem(rng, difficulty)).key) != "test":
        pass
    return turn


def _by_size(answerer: Answerer, each: int, seed: int) -> list[Row]:
    return [
        _one(answerer, f"  in {size} tokens", chunk_questions(size, each, seed), context=size)
        for size in contexts(answerer.context)
    ]


def _measured(questions: int, seed: int) -> list[Question]:
    """Return questions that state a length, to be judged by the length of the answer alone."""
    asked = list[Question]()
    for place, name in enumerate(MEASURED):
        drawn = held_out(name, max(1, questions // len(MEASURED)), seed + place)
        asked += [replace(one, check=within) for one in drawn]
    return asked


def _tools(answerer: Answerer, questions: int, seed: int) -> list[Row]:
    """Return a row for calls, for answers from results, and for requests that need no tool."""
    kinds: dict[str, list[Question]] = {
        "tool calls": [],
        "answers from tool results": [],
        "no tool needed": [],
    }
    for one in held_out("tools", 2 * questions, seed):
        called, told = bool(one.turn.expect.get("calls")), one.turn.source == "tool"
        name = "tool calls" if called else "answers from tool results" if told else "no tool needed"
        kinds[name].append(one)
    return [_one(answerer, name, asked[:questions]) for name, asked in kinds.items() if asked]
