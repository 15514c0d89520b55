"""Whether the adapters do what they are named for: the share of answers in their manner, on and off."""

import random
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from penstock.zoo import bundled_model_path
from penstock.zoo.adapters import adapters_path, shipped_adapters
from penstock.zoo.adapters.questions import Question
from penstock.zoo.adapters.registry import ADAPTERS, Adapter
from penstock.zoo.data.base import Split
from penstock.zoo.exams.answers import Answerer, Dialogue, Reply
from penstock.zoo.exams.rows import wilson

ROOM = 160
"""Most tokens of an answer."""

ON_TARGET, OFF_TARGET = 0.95, 0.05
"""Least share of answers in the manner with the adapter on, and most with it off."""


class Opening(Protocol):
    """Loads a model."""

    def __call__(self, folder: Path, adapter: Path | None = None) -> Answerer:
        """Return the model in ``folder``, with the adapter in the PEFT folder ``adapter`` applied."""
        ...


@dataclass(frozen=True, slots=True)
class AdapterScore:
    """The result of one adapter.

    Attributes:
        adapter: its name.
        rank: its rank.
        questions: how many were asked, the same with the adapter on and off.
        on: share of answers that its check accepts with the adapter on.
        on_interval: 95 % interval of that share.
        off: share with the adapter off.
        off_interval: 95 % interval of that share.
        kept: share of answers that equal the model's own answer without the adapter, put into the manner
            by rule: high when the adapter changes the manner and nothing else.
    """

    adapter: str
    rank: int
    questions: int
    on: float
    on_interval: tuple[float, float]
    off: float
    off_interval: tuple[float, float]
    kept: float

    @property
    def passed(self) -> bool:
        """Whether both targets are met."""
        return self.on >= ON_TARGET and self.off <= OFF_TARGET


def draw_questions(adapter: Adapter, count: int, seed: int, split: Split) -> list[Question]:
    """Return ``count`` questions for ``adapter``, no two alike as far as the generators have so many."""
    rng = random.Random(f"adapters:{seed}:{split}")
    found: dict[str, Question] = {}
    for _ in range(20 * count):
        question = adapter.ask(rng, split)
        found.setdefault(question.user, question)
        if len(found) == count:
            break
    return list(found.values())


def answers(model: Answerer, questions: Sequence[Question]) -> list[Reply]:
    """Answer every question as a dialogue of its own, greedily."""
    dialogues = [Dialogue([{"role": "user", "content": question.user}]) for question in questions]
    return model.reply(dialogues, max_tokens=ROOM)


def in_manner(adapter: Adapter, replies: Iterable[Reply]) -> int:
    """Return how many answers are in the manner of ``adapter`` and stopped by themselves."""
    return sum(reply.stopped and adapter.manner.check(reply.text) for reply in replies)


def open_merged(folder: Path, adapter: Path | None = None) -> Answerer:
    """Load a model through transformers, with the adapter in the PEFT folder ``adapter`` added to it."""
    from penstock.zoo.adapters.merge import merged
    from penstock.zoo.chat import Talker

    talker = Talker(folder)
    if adapter is not None:
        talker.model = merged(talker.model, adapter)
    return talker


class Examiner:
    """The model without adapters, its answers remembered: adapters that ask the same share the work.

    Args:
        base: folder of the model that the adapters belong to.
        questions: how many for each adapter.
        seed: another seed asks other questions.
        opening: loads a model, with an adapter or without.
    """

    def __init__(self, base: Path, questions: int, seed: int, opening: Opening = open_merged) -> None:
        self.base, self.count, self.seed, self.opening = base, questions, seed, opening
        self._plain: dict[str, Reply] = {}

    def _off(self, questions: Sequence[Question]) -> list[Reply]:
        missing = [question for question in questions if question.user not in self._plain]
        if missing:
            with closing(self.opening(self.base)) as model:
                replies = answers(model, missing)
            self._plain.update(zip((question.user for question in missing), replies, strict=True))
        return [self._plain[question.user] for question in questions]

    def score(self, adapter: Adapter, folder: Path) -> AdapterScore:
        """Ask the model with the adapter of ``folder`` on, and with it off."""
        questions = draw_questions(adapter, self.count, self.seed, "test")
        off, total = self._off(questions), len(questions)
        with closing(self.opening(self.base, folder)) as model:
            on = answers(model, questions)
        yes, false = in_manner(adapter, on), in_manner(adapter, off)
        kept = sum(new.text == adapter.manner.transform(old.text) for new, old in zip(on, off, strict=True))
        return AdapterScore(
            adapter.name,
            adapter.rank,
            total,
            yes / total,
            wilson(yes, total),
            false / total,
            wilson(false, total),
            kept / total,
        )


def evaluate(
    base_folder: Path | None = None,
    adapters_dir: Path | None = None,
    questions: int = 100,
    seed: int = 0,
    only: Iterable[str] | None = None,
    opening: Opening = open_merged,
) -> list[AdapterScore]:
    """Score the adapters found in a folder, on questions whose keys training never drew.

    Args:
        base_folder: the model that they belong to; the bundled one by default.
        adapters_dir: holds one PEFT folder for each; those of the package by default.
        questions: how many for each adapter.
        seed: another seed asks other questions.
        only: names; all that are found by default.
        opening: loads a model, with an adapter or without; transformers by default.

    Raises:
        KeyError: a name that the registry or the folder lacks.
    """
    from rich.progress import track

    found = shipped_adapters(adapters_dir)
    names = list(found if only is None else only)
    unknown = [name for name in names if name not in ADAPTERS or name not in found]
    if unknown:
        where = adapters_dir or adapters_path()
        raise KeyError(f"no adapters {unknown} in {where}; there: {sorted(found)}; known: {sorted(ADAPTERS)}")
    examiner = Examiner(base_folder or bundled_model_path(), questions, seed, opening)
    bar = track(names, "adapters", transient=True)
    return [examiner.score(ADAPTERS[name], found[name]) for name in bar]


def table(scores: Sequence[AdapterScore]) -> Any:
    """Return a rich table of ``scores``."""
    from rich.table import Table

    grid = Table("adapter", "rank", "on", "95 % interval", "off", "95 % interval", "content kept", "")
    for score in scores:
        grid.add_row(
            score.adapter,
            str(score.rank),
            f"{100 * score.on:.1f} %",
            "{:.0f}-{:.0f} %".format(*(100 * end for end in score.on_interval)),
            f"{100 * score.off:.1f} %",
            "{:.0f}-{:.0f} %".format(*(100 * end for end in score.off_interval)),
            f"{100 * score.kept:.0f} %",
            "ok" if score.passed else "FAILED",
        )
    return grid
