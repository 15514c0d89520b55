"""Figures: their intervals, their targets, pooling, and their JSON form."""

import json

import pytest

from penstock.zoo.exams.report import Report, find, load_rows
from penstock.zoo.exams.rows import Row, average, clustered, pooled, share, wilson


def test_wilson_interval() -> None:
    low, high = wilson(80, 100)
    assert low == pytest.approx(0.711, abs=1e-3)
    assert high == pytest.approx(0.867, abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("value", "bound", "reached"),
    [(0.95, "at least", True), (0.94, "at least", False), (0.95, "at most", True), (0.96, "at most", False)],
)
def test_a_target_is_reached_from_its_own_side(value, bound, reached) -> None:
    row = Row("targets", "m", "x", value, 0.0, 1.0, 10, target=0.95, bound=bound)
    assert row.reached is reached
    assert Row("targets", "m", "x", value, 0.0, 1.0, 10).reached is None


def test_pooling_adds_questions_up() -> None:
    row = pooled(
        "targets", "m", "all", [share("grid", "m", "a", 9, 10, stopped=10), share("grid", "m", "b", 0, 30)]
    )
    assert (row.passed, row.total, row.stopped, row.value) == (9, 40, 10, 9 / 40)
    with pytest.raises(ValueError, match="no rows"):
        average("models", "m", "mean", [])


def test_trials_of_one_answer_are_not_independent() -> None:
    together = clustered("draft", "m", "x", [(10, 10)] * 10 + [(0, 10)] * 10)
    apart = clustered("draft", "m", "x", [(5, 10)] * 20)
    assert together.value == apart.value == 0.5
    assert together.total == apart.total == 200
    assert (together.low, together.high) == pytest.approx(wilson(9.5, 19), abs=0.02)
    assert apart.high - apart.low < together.high - together.low
    certain = clustered("draft", "m", "x", [(3, 3)] * 5)
    assert (certain.low, certain.high) == pytest.approx(wilson(5, 5))
    assert clustered("draft", "m", "x", []).total == 0


def test_a_report_comes_back_from_its_file(tmp_path) -> None:
    report = Report(3, 50, "engine", missing={"moe": "not shipped"}, seconds={"skills": 1.234})
    labels = {"context": 256, "depth": 0.5}
    report.rows.append(share("grid", "m", "kvr", 3, 4, target=0.5, labels=labels, failures=[("q", "a", "b")]))
    path = tmp_path / "report.json"
    report.save(path)
    data = json.loads(path.read_text())
    assert (data["form"], data["seed"], data["questions"], data["split"]) == (1, 3, 50, "test")
    assert data["rows"][0]["reached"] is True
    assert data["missing"] == {"moe": "not shipped"} and data["seconds"] == {"skills": 1.2}
    assert load_rows(path) == report.rows
    assert find(report.rows, "grid", "kvr", depth=0.5) is report.rows[0]
    assert find(report.rows, "grid", "kvr", depth=0.25) is None
    path.write_text("[]")
    with pytest.raises(ValueError, match="no evaluation report"):
        load_rows(path)
