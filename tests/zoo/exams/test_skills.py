"""Skills: counting right answers, fresh held-out questions, talk before them, and the average."""

import random

import pytest

from penstock.zoo.data import SKILLS
from penstock.zoo.data.base import split_of
from penstock.zoo.exams.questions import held_out
from penstock.zoo.exams.rows import share
from penstock.zoo.exams.skills import history, known, score_skill, skill_average
from tests.zoo.exams.oracle import Oracle


def words(text: str) -> int:
    return len(text.split())


def test_scores_count_right_answers_that_stopped() -> None:
    yes, _ = score_skill(Oracle("Yes."), "yesno", 60)
    no, _ = score_skill(Oracle("No."), "yesno", 60)
    endless, replies = score_skill(Oracle("Yes.", stopped=False), "yesno", 60)
    assert yes.passed is not None and no.passed is not None
    assert yes.passed + no.passed == 60
    assert 0 < yes.passed < 60
    assert (endless.passed, endless.stopped, len(replies)) == (0, 0, 60)
    assert 1 <= len(yes.failures) <= 5


def test_the_same_seed_asks_the_same_questions() -> None:
    first, again, other = Oracle(""), Oracle(""), Oracle("")
    score_skill(first, "copying", 10, seed=1)
    score_skill(again, "copying", 10, seed=1)
    score_skill(other, "copying", 10, seed=2)
    assert first.asked == again.asked != other.asked


@pytest.mark.parametrize("name", ["arithmetic", "recall", "json"])
def test_questions_are_held_out(name: str) -> None:
    assert {split_of(one.turn.key) for one in held_out(name, 12, 0)} == {"test"}


@pytest.mark.parametrize("name", sorted(SKILLS))
def test_every_skill_passes_who_gives_the_reference_answers(name: str) -> None:
    for one in held_out(name, 10, 3):
        assert one.check(one.turn, one.turn.answer), one.turn


def test_earlier_talk_fills_the_context_and_keeps_the_system_prompt_in_front() -> None:
    def size(messages) -> int:
        return sum(words(message["content"]) + 2 for message in messages)

    talk = history(random.Random(1), words, 500)
    assert 400 <= size(talk) <= 500
    assert [message["role"] for message in talk] == ["user", "assistant"] * (len(talk) // 2)
    oracle = Oracle("Yes.")
    score_skill(oracle, "tone", 4, context=300, count=words)
    for one in oracle.dialogues:
        assert one.messages[0]["role"] == "system" and size(one.messages) > 200


def test_an_unknown_skill_is_named() -> None:
    assert known([]) == list(SKILLS)
    with pytest.raises(KeyError, match="juggling"):
        known(["juggling"])


def test_the_average_counts_every_skill_the_same() -> None:
    row = skill_average("m", [share("skills", "m", "a", 10, 10), share("skills", "m", "b", 0, 1000)])
    assert row.value == pytest.approx(0.5)
    assert row.low < 0.5 < row.high <= 1.0
    assert row.total == 1010
