"""Written arithmetic: every step of every explanation is a true equation, and the result stands last."""

import random
import re

import pytest

from penstock.zoo.data import arithmetic, steps
from penstock.zoo.data.base import draw, split_of
from penstock.zoo.data.working import by_heart, compute, worked


def equations(text: str) -> list[tuple[str, str]]:
    """Return both sides of every ``... = ...`` in ``text``."""
    found = re.findall(r"([\d+*/ -]*\d) ?= ?([\d+*]*\d)", text)
    return [(left.strip(), right) for left, right in found]


def value(expression: str) -> float:
    assert re.fullmatch(r"[\d+*/ -]+", expression)
    return float(eval(expression))


@pytest.mark.parametrize("op", "+-*/")
def test_every_step_is_true_and_the_result_stands_last(op: str) -> None:
    rng = random.Random(op)
    for _ in range(500):
        a, b = arithmetic.operands(rng, op)
        text = worked(a, op, b)
        assert text.endswith(f"{a} {op} {b} = {compute(a, op, b)}")
        assert all(value(left) == value(right) for left, right in equations(text)), text
        assert (len(equations(text)) == 1) == by_heart(a, op, b)


def test_places_are_worked_from_the_ones_with_the_carry() -> None:
    assert worked(47, "+", 38) == "47 + 38: 7+8=15, 4+3+1=8, so 47 + 38 = 85"
    assert worked(503, "-", 128) == "503 - 128: 13-8=5, 10-2-1=7, 5-1-1=3, so 503 - 128 = 375"
    assert worked(24, "*", 7) == "24 * 7: 4*7=28, 2*7=14, 14+2=16, so 24 * 7 = 168"
    assert worked(161, "/", 7) == "161 / 7: 16=2*7+2, 21=3*7+0, so 161 / 7 = 23"
    assert worked(8, "+", 9) == "8 + 9 = 17"


@pytest.mark.parametrize(
    ("a", "op", "b"), [(3, "-", 5), (7, "/", 2), (7, "/", 0), (2, "^", 3), (13, "*", 14)]
)
def test_what_cannot_be_worked_is_refused(a: int, op: str, b: int) -> None:
    with pytest.raises(ValueError, match=r"\d|sign"):
        worked(a, op, b)


def test_only_what_is_known_by_heart_is_never_examined() -> None:
    rng = random.Random(2)
    for _ in range(300):
        turn = draw(arithmetic.SKILL, rng, "test")[-1]
        assert " or " in turn.user or ":" in turn.answer
        wrong = turn.expect["result"] + 1
        assert not arithmetic.SKILL.check(
            turn, f"{wrong} is bigger." if " or " in turn.user else f"so 1 + 1 = {wrong}"
        )


@pytest.mark.parametrize("difficulty", steps.DIFFICULTIES)
def test_problems_of_several_steps_are_right_line_by_line(difficulty: int) -> None:
    rng = random.Random(difficulty)
    for _ in range(150):
        turn = steps.problem(rng, difficulty)
        lines = turn.answer.split("\n")
        results = [eq for line in lines if not line.startswith("Wait") for eq in equations(line)[-1:]]
        assert len(results) == turn.expect["difficulty"] == difficulty
        assert all(value(left) == value(right) for line in lines for left, right in equations(line))
        assert lines[-1] == f"Answer: {turn.expect['result']}"
        assert results[-1][1] == str(turn.expect["result"])
        assert steps.SKILL.check(turn, turn.answer)
        assert not steps.SKILL.check(turn, turn.answer + "1")
        assert not steps.SKILL.check(turn, "\n".join(lines[:-1]))
        assert ("Wait, let me verify" in turn.answer) == (difficulty >= 4)
        assert ("<think>" in turn.answer) == ("hink" in turn.user)


def test_answers_get_longer_with_the_difficulty_and_both_splits_have_all_difficulties() -> None:
    rng = random.Random(1)
    turns = {d: [steps.problem(rng, d) for _ in range(120)] for d in steps.DIFFICULTIES}
    means = [sum(len(turn.answer) for turn in drawn) / len(drawn) for drawn in turns.values()]
    assert means == sorted(means)
    for drawn in turns.values():
        assert {split_of(turn.key) for turn in drawn} == {"train", "test"}
    with pytest.raises(ValueError, match="difficulty"):
        steps.problem(rng, 9)


def test_a_chain_is_computed_as_it_is_told() -> None:
    rng, seen = random.Random(8), 0
    while seen < 100:
        turn = steps.problem(rng, rng.choice(steps.DIFFICULTIES))
        if not re.match(r"(Start|Take|I start)", turn.user):
            continue
        seen += 1
        told = re.findall(r"(add|subtract|take away|multiply by|divide by) (\d+)|(double|halve|triple) it",
                          turn.user.lower())  # fmt: skip
        result = float(re.findall(r"\d+", turn.user)[0])
        for verb, by, bare in told:
            number = float(by or {"double": 2, "halve": 2, "triple": 3}[bare])
            result = {"add": result + number, "subtract": result - number, "take away": result - number,
                      "multiply by": result * number, "divide by": result / number, "double": result * 2,
                      "halve": result / 2, "triple": result * 3}[verb or bare]  # fmt: skip
        assert result == turn.expect["result"], turn.user
