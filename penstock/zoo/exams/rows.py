"""One measured figure with its uncertainty, its target, and where it stands in the grid of an exam."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Z = 1.96
"""Standard deviations on either side of a 95 % interval."""

Bound = Literal["at least", "at most"]
Failure = tuple[str, str, str]
"""Question, wanted answer, given answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report.

    Attributes:
        part: which exam (`penstock.zoo.exams.plan.PARTS`).
        model: name of the model's folder.
        name: what was measured; unique within part, model and labels.
        value: the figure: a share from 0 to 1 unless the name says otherwise.
        low: lower end of its 95 % interval.
        high: upper end of it.
        total: questions (or other trials) behind it.
        passed: how many of them were passed; None where the figure is no share.
        stopped: answers that ended by themselves; None where that means nothing.
        target: what the project aims at, or None.
        bound: on which side of the target the value should be.
        labels: coordinates, such as context and depth.
        failures: some of what went wrong.
    """

    part: str
    model: str
    name: str
    value: float
    low: float
    high: float
    total: int
    passed: int | None = None
    stopped: int | None = None
    target: float | None = None
    bound: Bound = "at least"
    labels: Mapping[str, Any] = field(default_factory=dict)
    failures: Sequence[Failure] = ()

    @property
    def reached(self) -> bool | None:
        """Whether the figure itself is on the right side of the target; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.bound == "at least" else self.value <= self.target

    def plain(self) -> dict[str, Any]:
        """Return it as JSON data, with ``reached``."""
        return {**asdict(self), "labels": dict(self.labels), "reached": self.reached}


def wilson(passed: float, total: float, z: float = Z) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927)."""
    if total == 0:
        return 0.0, 1.0
    share = passed / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def share(part: str, model: str, name: str, passed: int, total: int, **more: Any) -> Row:
    """Return the row of a proportion; ``more`` are further fields of `Row`."""
    low, high = wilson(passed, total)
    return Row(part, model, name, passed / total if total else 0.0, low, high, total, passed, **more)


def pooled(part: str, model: str, name: str, rows: Sequence[Row], **more: Any) -> Row:
    """Return the proportion over the questions of several proportions."""
    failures = [failure for row in rows for failure in row.failures][:5]
    stopped = sum(row.stopped or 0 for row in rows)
    passed, total = sum(row.passed or 0 for row in rows), sum(row.total for row in rows)
    return share(part, model, name, passed, total, stopped=stopped, failures=failures, **more)


def clustered(part: str, model: str, name: str, trials: Sequence[tuple[int, int]], **more: Any) -> Row:
    """Return the share of hits over all trials, of which several come from one answer.

    Args:
        part: see `Row`.
        model: see `Row`.
        name: see `Row`.
        trials: per answer, hits and trials. Answers are taken as independent, their trials are not: the
            interval is Wilson's for the number of independent trials that would vary as much as the ratio
            estimate does (Cochran 1977, section 2.11), at least one for each answer.
        more: further fields of `Row`.
    """
    total, count = sum(size for _, size in trials), len(trials)
    if not total:
        return Row(part, model, name, 0.0, 0.0, 1.0, 0, **more)
    rate = sum(hits for hits, _ in trials) / total
    squares = sum((hits - rate * size) ** 2 for hits, size in trials)
    variance = squares * count / max(1, count - 1) / total**2
    alike = rate * (1 - rate) / variance if variance else (total if 0 < rate < 1 else count)
    independent = min(float(total), max(float(count), alike))
    return Row(part, model, name, rate, *wilson(rate * independent, independent), total, **more)


def average(part: str, model: str, name: str, rows: Iterable[Row], **more: Any) -> Row:
    """Return the plain mean of several proportions, each counting the same.

    The interval is normal, its variance the sum of those of the shares with two passes and two failures
    added to each (Agresti and Coull 1998), so that a perfect score is not taken for a certain one.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("the mean of no rows")
    mean = sum(row.value for row in rows) / len(rows)
    variance = 0.0
    for row in rows:
        guess = ((row.passed or 0) + 2) / (row.total + 4)
        variance += guess * (1 - guess) / (row.total + 4)
    spread = Z * math.sqrt(variance) / len(rows)
    total = sum(row.total for row in rows)
    return Row(part, model, name, mean, max(0.0, mean - spread), min(1.0, mean + spread), total, **more)
