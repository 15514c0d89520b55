"""What quantised ways cost: the comparison on made-up grades, and a run through the engine."""

import pytest

from benchmarks.quantised_quality import PLAIN, compared, measure, score, show
from penstock.zoo.exams.plan import model_folder

NAMES = ["a"] * 4 + ["b"] * 2


def test_skills_count_alike_whatever_their_questions():
    assert score(NAMES, [True] * 4 + [False] * 2) == 50.0
    assert score(NAMES, [True, False, False, False, True, True]) == pytest.approx(62.5)


def test_differences_are_taken_question_by_question():
    plain = [True, True, False, False, True, False]
    points, within = compared(NAMES, plain, plain)
    assert (points, within) == (0.0, 0.0)
    points, within = compared(NAMES, plain, [True, True, True, True, True, False])
    assert points == pytest.approx(25.0)
    assert within > 0
    lost, _ = compared(NAMES, plain, [False, False, False, False, True, False])
    assert lost == pytest.approx(-25.0)


def test_a_bar_that_does_not_hold_is_said(capsys):
    line = {"skills": 60.0, "perplexity": 1.2, "within": 0.5, "perplexity_ratio": 1.01, "least": -1.0}
    plain = {"way": PLAIN, "skills": 61.0, "perplexity": 1.2}
    assert show("t", [plain, {**line, "way": "int8 weights", "points": -0.9}])
    assert not show("t", [plain, {**line, "way": "int8 weights", "points": -1.1}])
    assert "short" in capsys.readouterr().out


def test_a_way_like_the_plain_one_costs_nothing(monkeypatch):
    monkeypatch.setattr("benchmarks.quantised_quality.WAYS", {PLAIN: {}, "same": {}})
    monkeypatch.setattr("benchmarks.quantised_quality.SKILLS", {"facts": None, "yesno": None})
    first, second = measure(model_folder("chat"), [PLAIN, "same"], 2, 0)
    assert second["points"] == second["within"] == 0.0
    assert second["perplexity"] == pytest.approx(first["perplexity"])
    assert 1.0 < first["perplexity"] < 3.0
