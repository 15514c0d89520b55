"""The result of an evaluation; the package's README says what its JSON form means."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.zoo.exams.rows import Row

FORM = 1
"""Version of the JSON form."""


@dataclass(slots=True)
class Report:
    """Rows of all exams, and what could not be held.

    Attributes:
        seed: of the questions.
        questions: how many each figure aims at.
        answerer: what ran the models: ``engine`` or ``transformers``.
        rows: the figures.
        missing: part or model, and why it has no figures.
        seconds: how long each exam took.
    """

    seed: int
    questions: int
    answerer: str
    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def of(self, part: str, model: str | None = None) -> list[Row]:
        """Return the rows of one exam, of one model or of all."""
        return [row for row in self.rows if row.part == part and model in (None, row.model)]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "form": FORM,
            "seed": self.seed,
            "questions": self.questions,
            "split": "test",
            "answerer": self.answerer,
            "rows": [row.plain() for row in self.rows],
            "missing": self.missing,
            "seconds": {name: round(spent, 1) for name, spent in self.seconds.items()},
        }

    def save(self, path: Path) -> None:
        """Write the JSON form."""
        path.write_text(json.dumps(self.plain(), indent=1) + "\n")


def load_rows(path: Path) -> list[Row]:
    """Return the rows of a saved report.

    Raises:
        ValueError: the file is no report of this form.
    """
    data = json.loads(path.read_text())
    if not isinstance(data, dict) or data.get("form") != FORM:
        raise ValueError(f"{path} is no evaluation report of form {FORM}")
    return [_row(plain) for plain in data["rows"]]


def _row(plain: dict[str, Any]) -> Row:
    values = {name: value for name, value in plain.items() if name != "reached"}
    return Row(**{**values, "failures": [tuple(failure) for failure in values["failures"]]})


def find(rows: Iterable[Row], part: str, name: str, **labels: Any) -> Row | None:
    """Return the row of that name whose labels include ``labels``, if there is one."""
    for row in rows:
        if (row.part, row.name) == (part, name) and labels.items() <= dict(row.labels).items():
            return row
    return None
