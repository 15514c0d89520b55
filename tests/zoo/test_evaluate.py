"""The evaluation: intervals, counting, and that it asks only held-out questions."""

import random
from collections.abc import Sequence

import pytest

from penstock.zoo.chat import Reply
from penstock.zoo.data import SKILLS, exam
from penstock.zoo.evaluate import evaluate, history, score_skill, table, wilson


class Oracle:
    """Stands in for the model: answers with what a function says."""

    def __init__(self, text: str, stopped: bool = True) -> None:
        self.text, self.stopped, self.asked = text, stopped, list[str]()
        self.dialogues: list[list[dict[str, str]]] = []

    def reply(self, dialogues: Sequence[list[dict[str, str]]], max_tokens: int = 256) -> list[Reply]:
        self.dialogues += dialogues
        self.asked += [dialogue[-1]["content"] for dialogue in dialogues]
        return [Reply(self.text, self.stopped, 1) for _ in dialogues]


def test_wilson_interval() -> None:
    low, high = wilson(80, 100)
    assert low == pytest.approx(0.711, abs=1e-3)
    assert high == pytest.approx(0.867, abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)


def test_scores_count_right_answers_that_stopped() -> None:
    yes = score_skill(Oracle("Yes."), "yesno", 60)  # type: ignore[arg-type]
    no = score_skill(Oracle("No."), "yesno", 60)  # type: ignore[arg-type]
    endless = score_skill(Oracle("Yes.", stopped=False), "yesno", 60)  # type: ignore[arg-type]
    assert yes.passed + no.passed == 60
    assert 0 < yes.passed < 60
    assert (endless.passed, endless.stopped) == (0, 0)
    assert 1 <= len(yes.failures) <= 5


def test_the_same_seed_asks_the_same_questions() -> None:
    first, again, other = Oracle(""), Oracle(""), Oracle("")
    score_skill(first, "copying", 10, seed=1)  # type: ignore[arg-type]
    score_skill(again, "copying", 10, seed=1)  # type: ignore[arg-type]
    score_skill(other, "copying", 10, seed=2)  # type: ignore[arg-type]
    assert first.asked == again.asked != other.asked


def test_earlier_talk_fills_the_context_and_keeps_the_system_prompt_in_front() -> None:
    class Words:
        def encode(self, text: str, add_special_tokens: bool) -> list[str]:
            return text.split()

    def size(messages: list[dict[str, str]]) -> int:
        return sum(len(message["content"].split()) + 2 for message in messages)

    talk = history(random.Random(1), Words(), 500)
    assert 400 <= size(talk) <= 500
    assert [message["role"] for message in talk] == ["user", "assistant"] * (len(talk) // 2)
    oracle = Oracle("Yes.")
    oracle.tokenizer = Words()  # type: ignore[attr-defined]
    score_skill(oracle, "tone", 4, context=300)  # type: ignore[arg-type]
    assert all(dialogue[0]["role"] == "system" and size(dialogue) > 200 for dialogue in oracle.dialogues)


def test_an_unknown_skill_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.zoo.evaluate.Talker", lambda folder: None)
    with pytest.raises(KeyError, match="juggling"):
        evaluate(skills=["juggling"])


def test_the_table_has_a_row_per_skill() -> None:
    scores = [score_skill(Oracle("Yes."), name, 2) for name in ("yesno", "copying")]  # type: ignore[arg-type]
    assert table(scores).row_count == 2
    assert exam.__module__.startswith("penstock.zoo.data") and set(SKILLS) >= {"yesno", "copying"}
