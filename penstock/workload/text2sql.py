"""Hexgen-Flow's workload: questions that become SQL through some fifteen calls, with one deadline for all.

Stages, their mean lengths and times, and the standard workflow are those of the published code (CHESS agents
on Llama-3.1-70B); the way real questions depart from the standard, that of its traces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from penstock.core.request import SLO, Turn
from penstock.workload.arrivals import Gamma, check_positive
from penstock.workload.driver import Served, World
from penstock.workload.request import Span, TraceRequest

STAGES: dict[str, tuple[int, int]] = {
    "information": (308, 5),
    "keywords": (667, 45),
    "candidate": (11748, 678),
    "revise": (5963, 79),
    "unit-test": (275, 4),
    "generate-test": (1109, 103),
    "evaluate": (961, 22),
}
"""Mean prompt and answer tokens."""
SECONDS: dict[str, tuple[float, ...]] = {
    "a100": (0.2253, 1.1359, 18.2363, 3.3314, 0.1735, 2.5385, 0.8670),
    "a6000": (0.4869, 2.1088, 34.2747, 8.0309, 0.3907, 4.5617, 1.7923),
    "l40s": (0.4003, 2.0330, 32.6221, 5.8850, 0.3077, 4.5497, 1.5440),
}
"""Measured seconds of each stage's call alone, in the order of `STAGES` (the last card's row is its L40)."""
STANDARD = (
    ("information", "keywords", "information", "information", "information", "candidate")
    + ("revise",) * 4
    + ("unit-test", "generate-test", "unit-test", "evaluate", "unit-test")
)
"""What a question is expected to need."""


class Stage(NamedTuple):
    """Calls that are made together; the next stage begins when all have ended."""

    name: str
    calls: tuple[tuple[int, int], ...]
    """Prompt and answer tokens of each."""


class Question(NamedTuple):
    """One question and all it will need, which nobody is told in advance."""

    arrival: float
    stages: tuple[Stage, ...]


def mean_times(cards: Iterable[str] = ("a100", "a100", "a6000", "l40s")) -> dict[str, float]:
    """Return the mean seconds of each stage over a fleet."""
    rows = [SECONDS[card] for card in cards]
    return {name: sum(row[at] for row in rows) / len(rows) for at, name in enumerate(STAGES)}


def stage_share(left: Any, stage: str, later: Sequence[str], times: Mapping[str, Any]) -> Any:
    """Return a stage's share of the time that is left: its mean over its and all later stages' means.

    A question whose stages each take exactly their share uses exactly the time it had; one that runs at the
    mean times, with their sum as its time, has each mean as the share.
    """
    return left * times[stage] / (times[stage] + sum(times[name] for name in later))


class Remaining:
    """Which standard stages are still expected."""

    def __init__(self, standard: Sequence[str] = STANDARD) -> None:
        self.later = list(standard)

    def enter(self, stage: str) -> list[str]:
        """Strike a stage off and return what is expected after it. Who tests has done with revising."""
        if stage in self.later:
            self.later.remove(stage)
        if stage == "unit-test":
            self.later = [name for name in self.later if name != "revise"]
        return self.later


class _Open:
    """A question under way."""

    __slots__ = ("at", "began", "number", "open", "question", "remaining", "sent")

    def __init__(self, number: int, question: Question, began: float) -> None:
        self.number, self.question, self.began = number, question, began
        self.at = self.open = self.sent = 0
        self.remaining = Remaining()


class Text2Sql:
    """Implements `penstock.workload.driver.Driver`: sends each question's stages one after the other.

    A call carries its stage's share of the question's deadline (``slo.deadline``), the mean length of its
    stage's answers as predicted length, its stage as ``turn.tool`` and its question as ``program``.

    Args:
        questions: in order of arrival.
        deadline: seconds that a question may take.
        times: mean seconds of the stages, for the shares.
    """

    def __init__(
        self, questions: Sequence[Question], deadline: float, times: Mapping[str, float] | None = None
    ) -> None:
        self.deadline = deadline
        self.took: dict[int, float] = {}
        """Seconds that each completed question took, by number."""
        self.failed = 0
        """Questions with a call that failed; they end there."""
        self._questions = questions
        self._times = times or mean_times()
        self._of: dict[str, _Open] = {}
        self._streams = 0

    def begin(self, world: World) -> None:
        """Set a timer for each question."""
        for number, question in enumerate(self._questions):
            world.at(question.arrival, self._starter(number, question, world))

    def _starter(self, number: int, question: Question, world: World) -> Callable[[], None]:
        return lambda: self._send(_Open(number, question, world.now()), world)

    def _send(self, one: _Open, world: World) -> None:
        stage, now = one.question.stages[one.at], world.now()
        later = one.remaining.enter(stage.name)
        share = stage_share(one.began + self.deadline - now, stage.name, later, self._times)
        last = one.at == len(one.question.stages) - 1
        one.open = len(stage.calls)
        for prompt, output in stage.calls:
            self._streams += 1
            request = TraceRequest(
                id=f"q{one.number}.{one.sent}",
                arrival=now,
                prompt=(Span(self._streams, prompt),),
                output_tokens=output,
                max_tokens=max(output, 2048),
                slo=SLO(deadline=share),
                program=f"q{one.number}",
                turn=Turn(index=one.sent, last=last, tool=stage.name),
                length_score=float(STAGES[stage.name][1]),
            )
            one.sent += 1
            self._of[request.id] = one
            world.submit(request)

    def served(self, result: Served, world: World) -> None:
        """Go on with the question when the stage is complete."""
        one = self._of.pop(result.request.id)
        if not result.ok:
            self.failed += one.open > 0
            one.open = 0  # calls of it that are still out end unnoticed
        if one.open <= 0:
            return
        one.open -= 1
        if one.open:
            return
        one.at += 1
        if one.at < len(one.question.stages):
            self._send(one, world)
        else:
            self.took[one.number] = world.now() - one.began

    def attainment(self, deadline: float) -> float:
        """Return the share of all questions that were answered within so many seconds."""
        return sum(took <= deadline for took in self.took.values()) / len(self._questions)


class Habits(NamedTuple):
    """How questions of a database depart from the standard: means and deviations counted in a trace."""

    candidate: tuple[int, int, int, int]
    """Prompt mean and deviation, answer mean and deviation, of each of two candidates."""
    revise: tuple[int, int, int, int]
    evaluate: tuple[int, int, int, int]
    keywords: float
    """Share of questions that extract keywords (the others reuse them)."""
    revises: tuple[float, float]
    """Share of questions whose candidates fail the first test, and the mean number of revisions then."""
    evaluations: float
    """Mean number of candidates that are evaluated, between 2 and 8."""


HABITS = {
    "financial": Habits(
        (10043, 1938, 586, 162), (5970, 301, 188, 200), (890, 315, 29, 20), 0.85, (0.27, 2.8), 4.4
    ),
    "formula1": Habits(
        (11912, 1936, 601, 215), (8031, 336, 119, 67), (1031, 302, 32, 20), 0.90, (0.38, 4.0), 5.0
    ),
}


def questions(trace: str, rate: float, count: int, seed: int, cv: float = 1.0) -> list[Question]:
    """Draw questions with Gamma arrivals; one seed gives one list, whatever the rate.

    Args:
        trace: a key of `HABITS`.
        rate: questions per second.
        count: how many.
        seed: of everything.
        cv: of the gaps.

    Raises:
        ConfigError: numbers that make no sense.
    """
    check_positive(rate=rate, count=count)
    habits, rng = HABITS[trace], np.random.default_rng([seed, 12])
    times = Gamma(rate, cv).times(np.random.default_rng([seed, 13]))
    return [Question(next(times), tuple(_stages(habits, rng))) for _ in range(count)]


def _stages(habits: Habits, rng: np.random.Generator) -> Iterable[Stage]:
    def drawn(prompt: float, spread: float, answer: float, wide: float) -> tuple[int, int]:
        long = max(16, round(float(rng.normal(prompt, spread))))
        sigma = np.sqrt(np.log1p((wide / answer) ** 2))
        return long, max(1, min(2048, round(float(rng.lognormal(np.log(answer) - sigma**2 / 2, sigma)))))

    def one(name: str, spread: float = 0.03, wide: float = 0.3) -> Stage:
        prompt, answer = STAGES[name]
        return Stage(name, (drawn(prompt, spread * prompt, answer, wide * answer),))

    yield one("information")
    if rng.random() < habits.keywords:
        yield one("keywords")
    for _ in range(3):
        yield one("information")
    yield Stage("candidate", tuple(drawn(*habits.candidate) for _ in range(2)))
    share, mean = habits.revises
    if rng.random() < share:
        for _ in range(min(10, int(rng.geometric(1 / mean)))):
            yield Stage("revise", (drawn(*habits.revise),))
    yield one("unit-test")
    yield one("generate-test", 0.3)
    yield one("unit-test")
    many = int(np.clip(rng.poisson(habits.evaluations - 2) + 2, 2, 8))
    yield Stage("evaluate", tuple(drawn(*habits.evaluate) for _ in range(many)))
    yield one("unit-test")
