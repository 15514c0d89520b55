"""Quoting: the quoted sentence stands in the text, alone fits, and is checked to the letter."""

import random
import re

import pytest

from penstock.zoo.data.base import draw, split_of, tokens_of_turns
from penstock.zoo.data.prose import NOT_IN_TEXT
from penstock.zoo.data.quoting import SKILL


@pytest.mark.parametrize("tokens", [128, 256, 700, 1900])
def test_a_fragment_never_takes_more_than_its_budget(tokens: int) -> None:
    rng = random.Random(tokens)
    for _ in range(20):
        used = tokens_of_turns(draw(SKILL, rng, "train", budget=tokens))
        assert 0.75 * tokens - 20 <= used <= tokens
    assert SKILL.sized
    with pytest.raises(ValueError, match="128 tokens or more"):
        SKILL.sized(rng, 90)


def test_the_quote_stands_in_the_text_once() -> None:
    rng = random.Random(1)
    seen = set()
    for _ in range(60):
        turns = draw(SKILL, rng, "train", budget=500)
        for turn in turns:
            quote = turn.expect["quote"]
            seen.add(bool(quote))
            if not quote:
                assert NOT_IN_TEXT in turn.answer
                continue
            assert turns[0].user.count(quote) == 1
            asked = re.search(r"(?:mentions|about) (?:the )?(\w+)[.?]", turn.user)
            if asked:
                others = turns[0].user.replace(quote, "")
                assert len(re.findall(rf"\b{asked[1]}s?\b", others)) == (turn is turns[0])
    assert seen == {True, False}


def test_what_is_said_to_be_missing_is_missing() -> None:
    rng = random.Random(2)
    missing = 0
    while missing < 30:
        turns = draw(SKILL, rng, "train", budget=400)
        for turn in turns:
            asked = re.search(r"(?:mentions|about) (?:the )?(\w+)[.?]", turn.user)
            if asked and not turn.expect["quote"]:
                missing += 1
                assert turns[0].user.lower().count(asked[1].lower()) == (turn is turns[0])


def test_a_quote_is_checked_to_the_letter() -> None:
    rng = random.Random(3)
    for _ in range(80):
        turn = draw(SKILL, rng, "test", budget=300)[-1]
        assert split_of(turn.key) == "test"
        assert SKILL.check(turn, turn.answer)
        assert not SKILL.check(turn, "")
        assert not SKILL.check(turn, turn.answer.replace("The text", 'The "text"'))
        if turn.expect["quote"]:
            assert not SKILL.check(turn, turn.answer.replace('."', ' now."'))
            assert not SKILL.check(turn, turn.expect["quote"]), "a quote has quotation marks"
            assert not SKILL.check(turn, f"That is {NOT_IN_TEXT}.")
