"""Recall: sizes hold, the pair stands where it should, and what is not told is really not told."""

import random
import re

import pytest

from penstock.zoo import bundled_model_path
from penstock.zoo.data.base import draw, norm, split_of, tokens_of, tokens_of_turns
from penstock.zoo.data.prose import NOT_IN_TEXT
from penstock.zoo.data.recall import SKILL, needle

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize("tokens", [96, 128, 256, 512, 1024, 1900])
def test_a_fragment_never_takes_more_than_its_budget(tokens: int) -> None:
    rng = random.Random(tokens)
    for _ in range(25):
        used = tokens_of_turns(draw(SKILL, rng, "train", budget=tokens))
        assert 0.8 * tokens - 20 <= used <= tokens


def test_the_tokenizer_agrees_about_the_sizes() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bundled_model_path())
    rng = random.Random(2)
    for tokens in (256, 1024, 2048):
        for depth in DEPTHS:
            turn = needle(rng, tokens, depth)[0]
            talk = [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.answer}]
            real = len(tokenizer.apply_chat_template(talk, return_dict=False))
            assert 0.85 * tokens <= real <= tokens


def test_too_small_a_budget_is_refused() -> None:
    assert SKILL.sized
    with pytest.raises(ValueError, match="96 tokens or more"):
        SKILL.sized(random.Random(0), 50)


@pytest.mark.parametrize("question_first", [False, True])
@pytest.mark.parametrize("tokens", [256, 1024])
def test_the_pair_stands_at_its_depth(tokens: int, question_first: bool) -> None:
    rng = random.Random(3)
    for depth in DEPTHS:
        turn = needle(rng, tokens, depth, question_first=question_first)[0]
        lines = turn.user.split("\n")
        text = lines[1]
        assert len(lines) == 2 + (not question_first)
        value = turn.expect["values"][0]
        thing = re.match(r"The \w+ of (.*) is \w+\.", turn.answer)
        assert thing
        at = next(
            hit.start()
            for hit in re.finditer(thing[1], text, re.IGNORECASE)
            if re.match(r"( is| has the \w+) ", text[hit.end() :])
            and value in text[hit.end() : hit.end() + 30]
        )
        assert tokens_of(text[:at]) / tokens_of(text) == pytest.approx(depth, abs=20 / tokens + 0.04)


def test_a_missing_pair_is_missing_and_nothing_else_changes() -> None:
    for seed in range(30):
        there = needle(random.Random(seed), 512, 0.5)[0]
        gone = needle(random.Random(seed), 512, 0.5, present=False)[0]
        assert gone.answer.endswith(f" is {NOT_IN_TEXT}.")
        assert gone.expect["values"] == there.expect["values"]
        assert not SKILL.check(gone, there.answer)
        asked = norm(there.answer.split(" is ")[0])
        assert asked in norm(there.user.split("\n")[1]) or " has the " in there.user
        assert asked not in norm(gone.user.split("\n")[1])
        assert there.user.split("\n")[2] == gone.user.split("\n")[2]


def test_questions_have_one_right_answer() -> None:
    rng = random.Random(4)
    for _ in range(60):
        turns = draw(SKILL, rng, "train", budget=rng.randint(200, 1500))
        text = " ".join(turn.user for turn in turns)
        for turn in turns:
            for fact in re.findall(r"The \w+ of [^.]*? is \w+", turn.answer):
                what, value = fact.rsplit(" is ", 1)
                told = set(re.findall(f"{what} is (\\w+)", text, re.IGNORECASE))
                assert told <= {value}, "the same thing never has two values"


def test_training_asks_often_and_examination_once() -> None:
    rng = random.Random(5)
    train = [draw(SKILL, rng, "train", budget=900) for _ in range(40)]
    test = [draw(SKILL, rng, "test", budget=900) for _ in range(40)]
    asked = [sum(bool(turn.expect) for turn in turns) for turns in train]
    assert min(asked) >= 4
    assert max(asked) <= 10
    assert all(sum(bool(turn.expect) for turn in turns) == 1 for turns in test)
    assert all(split_of(turns[-1].key) == "test" for turns in test)
    share = sum(NOT_IN_TEXT in turn.answer for turns in train for turn in turns) / sum(asked)
    assert 0.05 < share < 0.2


def test_another_value_is_refused() -> None:
    rng = random.Random(6)
    for _ in range(50):
        turn = draw(SKILL, rng, "test", budget=300)[-1]
        assert SKILL.check(turn, turn.answer)
        assert not SKILL.check(turn, turn.answer.replace(" is ", " is 1"))
        assert not SKILL.check(turn, "")
