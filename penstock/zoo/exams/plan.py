"""Which exams are held for which models, and the run that holds them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from penstock.zoo import bundled_model_path, named_model
from penstock.zoo.adapters import shipped_adapters
from penstock.zoo.exams import controls, draft, grid, helpers, skills, targets
from penstock.zoo.exams.answers import Answerer, Reply
from penstock.zoo.exams.parts import CHAT, COMPARED, DRAFT, EMBEDDER, PARTS, QUESTIONS, RANKER
from penstock.zoo.exams.remember import Remembering
from penstock.zoo.exams.report import Report
from penstock.zoo.exams.rows import Row

if TYPE_CHECKING:
    import numpy as np

NOT_SHIPPED = "not shipped"


class Encoder(Protocol):
    """An embedder that is loaded."""

    def vectors(self, texts: Sequence[str]) -> "np.ndarray":
        """Return unit vectors [n, E]."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class Room(Protocol):
    """Where exams are held: what loads models and runs them."""

    name: str
    """For the report: ``engine`` or ``transformers``."""

    def open(self, folder: Path, adapter: Path | None = None) -> Answerer:
        """Return the chat model in ``folder``, with the adapter in the PEFT folder ``adapter`` applied."""
        ...

    def open_encoder(self, folder: Path) -> Encoder:
        """Return the embedder in ``folder``."""
        ...

    def ranker_rows(
        self, folder: Path, questions: int, seed: int, replies: Mapping[str, Sequence[Reply]]
    ) -> list[Row]:
        """Measure the length ranker in ``folder``, also on the chat model's own ``replies`` by skill.

        Raises:
            NotImplementedError: rankers do not run here.
        """
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked.

    Attributes:
        models: folders of chat models that sit the exams `OF_CHAT`; empty is the default run: the bundled
            chat model sits them all, the compared models the skills, and the helpers theirs.
        parts: exams that are held.
        names: skills that are scored; all if empty.
        questions: how many behind each figure.
        seed: another seed asks other questions.
        context: tokens of unrelated talk before every question of the skills.
    """

    models: Sequence[Path] = ()
    parts: Sequence[str] = PARTS
    names: Sequence[str] = ()
    questions: int = QUESTIONS
    seed: int = 0
    context: int = 0


def model_folder(name: str) -> Path:
    """Return the folder that ``name`` means: itself, or a shipped model (``penstock-`` may be left out).

    Raises:
        FileNotFoundError: no such folder, and none of that name is shipped; lists those that are.
    """
    folder = Path(named_model(name)).resolve()
    if (folder / "config.json").is_file():
        return folder
    try:
        return bundled_model_path(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no model folder {name}, and {error}") from error


class Run:
    """One evaluation, its report growing.

    Args:
        plan: what is asked.
        room: loads and runs the models.
        say: is told what happens now.
    """

    def __init__(self, plan: Plan, room: Room, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.report = Report(plan.seed, plan.questions, room.name)
        self._room = room
        self._say = say

    def hold(self) -> Report:
        """Hold all exams of the plan and return the report."""
        whole = not self.plan.models
        for folder in self.plan.models or [bundled_model_path(CHAT)]:
            replies = self._chat_model(folder)
        if whole:
            self._draft(replies)
            self._adapters()
            self._ranker(replies)
            self._embedder()
            self._compared()
        return self.report

    def _wants(self, part: str) -> bool:
        return part in self.plan.parts

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        self._say(what)
        start = time.monotonic()
        yield
        self.report.seconds[what] = time.monotonic() - start

    def _chat_model(self, folder: Path) -> dict[str, list[Reply]]:
        """Let one model sit the exams of chat models; returns its answers by skill."""
        plan, rows = self.plan, self.report.rows
        asked = self._wants("skills") or self._wants("draft")
        with closing(Remembering(self._room.open(folder))) as model:
            replies = self._skills(model, plan.questions) if asked else {}
            if self._wants("targets"):
                with self._timed(f"{model.name}: targets"):
                    rows += targets.named_targets(model, plan.questions, plan.seed)
            if self._wants("grid"):
                with self._timed(f"{model.name}: grid"):
                    cells = grid.recall_grid(model, plan.questions, plan.seed)
                    rows += [*cells, *grid.recall_targets(cells, model.context)]
                    rows += grid.several_at_once(model, max(1, plan.questions // 8), plan.seed)
            if self._wants("controls"):
                with self._timed(f"{model.name}: controls"):
                    half = max(1, plan.questions // 2)
                    rows += controls.without_needle(model, half, plan.seed)
                    rows += controls.shuffled_chunks(model, half, plan.seed)
        return replies

    def _skills(self, model: Answerer, questions: int) -> dict[str, list[Reply]]:
        plan, replies, rows = self.plan, dict[str, list[Reply]](), []
        with self._timed(f"{model.name}: skills"):
            for name in skills.known(plan.names):
                row, replies[name] = skills.score_skill(model, name, questions, plan.seed, plan.context)
                rows.append(row)
        if self._wants("skills"):
            self.report.rows += rows
        if self._wants("skills") and not plan.names:
            self.report.rows.append(skills.skill_average(model.name, rows))
        return replies

    def _draft(self, replies: dict[str, list[Reply]]) -> None:
        if not self._wants("draft") or (folder := self._shipped(DRAFT, "draft")) is None:
            return
        with self._timed("draft"), closing(self._room.open(folder)) as model:
            few = max(1, self.plan.questions // 4)
            some = {skill: given[:few] for skill, given in replies.items()}
            self.report.rows += draft.acceptance(model, some)

    def _adapters(self) -> None:
        if not self._wants("adapters"):
            return
        found = shipped_adapters()
        if not found:
            self.report.missing["adapters"] = NOT_SHIPPED
            return
        base, plan = bundled_model_path(CHAT), self.plan
        with self._timed("adapters"):
            each = max(1, plan.questions // 2)
            self.report.rows += helpers.adapter_rows(base, found, self._room.open, each, plan.seed)

    def _ranker(self, replies: Mapping[str, Sequence[Reply]]) -> None:
        if not self._wants("ranker") or (folder := self._shipped(RANKER, "ranker")) is None:
            return
        with self._timed("ranker"):
            count = 5 * self.plan.questions
            try:
                self.report.rows += self._room.ranker_rows(folder, count, self.plan.seed, replies)
            except NotImplementedError as error:
                self.report.missing["ranker"] = str(error)

    def _embedder(self) -> None:
        if not self._wants("embedder") or (folder := self._shipped(EMBEDDER, "embedder")) is None:
            return
        rounds = max(1, self.plan.questions // 40)
        with self._timed("embedder"), closing(self._room.open_encoder(folder)) as model:
            self.report.rows += helpers.embedder_rows(folder.name, model.vectors, self.plan.seed, rounds)

    def _compared(self) -> None:
        """Let the other chat models sit the skills, with half the questions: the average is what counts."""
        for name in COMPARED if self._wants("skills") else ():
            if (folder := self._shipped(name, name)) is not None:
                with closing(self._room.open(folder)) as model:
                    self._skills(model, max(1, self.plan.questions // 2))

    def _shipped(self, name: str, part: str) -> Path | None:
        try:
            return bundled_model_path(name)
        except FileNotFoundError:
            self.report.missing[part] = NOT_SHIPPED
            return None
