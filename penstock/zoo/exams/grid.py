"""Recall over the whole context: one pair asked for, at every depth of texts of several lengths."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.zoo.data.mixture import SKILLS
from penstock.zoo.data.recall import needle
from penstock.zoo.exams.answers import Answerer
from penstock.zoo.exams.questions import Question, alone, ask, grade
from penstock.zoo.exams.rows import Row, pooled

NAME = "kvr"
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
CONTEXTS = (256, 512, 1024)
"""Lengths besides the model's full context."""

TARGETS = {256: 0.98, 512: 0.98, 1024: 0.98}
"""By length; at the full context `FULL_TARGET`."""

FULL_TARGET = 0.95
ROOM = 8
"""Tokens of a context that stay free: the beginning, and the marks of the answer."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to ask.

    Attributes:
        asked: whether the question comes ``after`` or ``before`` the text.
        needles: ``few`` other pairs in the text, or ``many``.
    """

    asked: str
    needles: str


OTHERS = {"few": 0.3, "many": 0.9}
"""Share of the text that other pairs take; the rest is filler."""

PLAIN = Variant("after", "few")
VARIANTS = (PLAIN, Variant("before", "few"), Variant("after", "many"))


def contexts(full: int) -> list[int]:
    """Return the lengths that fit a model, its full context last."""
    return [*(length for length in CONTEXTS if length < full), full]


def cell(
    variant: Variant, context: int, depth: float, count: int, seed: int, present: bool = True
) -> list[Question]:
    """Draw the questions of one cell; with and without the needle the texts are the same elsewhere."""
    rng = random.Random(f"grid:{seed}:{variant}:{context}:{depth}")
    labels = {"context": context, "depth": depth, "asked": variant.asked, "needles": variant.needles}
    drawn = []
    for _ in range(count):
        turn = needle(
            random.Random(rng.getrandbits(64)),
            context - ROOM,
            depth,
            question_first=variant.asked == "before",
            present=present,
            pairs=OTHERS[variant.needles],
        )[-1]
        drawn.append(alone(turn, SKILLS[turn.skill].check, **labels))
    return drawn


def recall_grid(answerer: Answerer, questions: int, seed: int = 0) -> list[Row]:
    """Return a row per cell: ``questions`` per length in the plain way, a quarter in the others."""
    rows = []
    for variant in VARIANTS:
        share = questions if variant == PLAIN else questions // 4
        each = max(1, share // len(DEPTHS))
        for context in contexts(answerer.context):
            asked = [one for depth in DEPTHS for one in cell(variant, context, depth, each, seed)]
            replies = ask(answerer, asked)
            for start in range(0, len(asked), each):
                these = slice(start, start + each)
                labels = asked[start].labels
                rows.append(grade("grid", answerer.name, NAME, asked[these], replies[these], labels=labels))
    return rows


def several_at_once(answerer: Answerer, questions: int, seed: int = 0) -> list[Row]:
    """Return a row per length (from the second on) for questions that ask for two and for three pairs."""
    rows = []
    for context in contexts(answerer.context)[1:]:
        rng = random.Random(f"several:{seed}:{context}")
        asked = [_several(rng, context, 2 + place % 2) for place in range(questions)]
        name, labels = f"kvr at {context}, two or three asked at once", {"context": context}
        rows.append(grade("targets", answerer.name, name, asked, ask(answerer, asked), labels=labels))
    return rows


def _several(rng: random.Random, context: int, count: int) -> Question:
    turn = needle(random.Random(rng.getrandbits(64)), context - ROOM, rng.random(), asked=count)[-1]
    return alone(turn, SKILLS[turn.skill].check)


def recall_targets(rows: Sequence[Row], full: int) -> list[Row]:
    """Return a row per length (over all depths of one model), of its worst depth, and per other variant."""
    found = list[Row]()
    for context in contexts(full):
        cells = list(_cells(rows, PLAIN, context))
        target = FULL_TARGET if context == full else TARGETS[context]
        found.append(_pooled(f"kvr at {context}", cells, context, target))
        worst = min(cells, key=lambda row: row.value)
        label = f"kvr at {context}, worst depth ({worst.labels['depth']:.0%})"
        found.append(_pooled(label, [worst], context))
    for variant in VARIANTS[1:]:
        for context in contexts(full):
            name = "question before" if variant.asked == "before" else "many needles"
            found.append(_pooled(f"kvr at {context}, {name}", list(_cells(rows, variant, context)), context))
    return found


def _cells(rows: Sequence[Row], variant: Variant, context: int) -> Iterator[Row]:
    wanted = {"context": context, "asked": variant.asked, "needles": variant.needles}
    return (row for row in rows if wanted.items() <= dict(row.labels).items())


def _pooled(name: str, cells: Sequence[Row], context: int, target: float | None = None) -> Row:
    return pooled("targets", cells[0].model, name, cells, target=target, labels={"context": context})
