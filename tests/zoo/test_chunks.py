"""Passages: the answer follows from them, from two of them where it should, and from none when shuffled."""

import random
import re

import pytest

from penstock.zoo.data import chunks
from penstock.zoo.data.base import Skill, draw, norm, split_of, tokens_of_turns
from penstock.zoo.data.chunks import question
from penstock.zoo.data.encyclopaedia import entry, permuted
from penstock.zoo.data.prose import NOT_IN_TEXT

SKILLS = [chunks.SKILL, chunks.TWO]


def _passages(text: str) -> list[str]:
    return [line for line in text.split("\n") if re.match(r"\[\d+\]", line)]


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
@pytest.mark.parametrize("tokens", [128, 256, 700, 1900])
def test_a_fragment_never_takes_more_than_its_budget(skill: Skill, tokens: int) -> None:
    rng = random.Random(tokens)
    for _ in range(15):
        used = tokens_of_turns(draw(skill, rng, "train", budget=tokens))
        assert 0.75 * tokens - 20 <= used <= tokens
    assert skill.sized
    with pytest.raises(ValueError, match="128 tokens or more"):
        skill.sized(rng, 90)


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_answers_stand_in_the_passages_unless_they_say_otherwise(skill: Skill) -> None:
    rng = random.Random(1)
    for _ in range(40):
        turns = draw(skill, rng, "train", budget=600)
        told = _passages(turns[0].user)
        for turn in turns:
            for step in turn.expect["steps"]:
                assert (NOT_IN_TEXT in step) != any(step in passage for passage in told)


def test_a_question_of_two_steps_needs_two_passages() -> None:
    rng = random.Random(2)
    for _ in range(40):
        turn = question(rng, 500, 2)[0]
        first, second = turn.expect["steps"]
        told = _passages(turn.user)
        where = [{i for i, passage in enumerate(told) if step in passage} for step in (first, second)]
        assert len(where[0]) == len(where[1]) == 1
        assert not where[0] & where[1]
        asked = norm(turn.user.rsplit("\n", 1)[1])
        middle = re.search(r"(the \w+ \w+|[A-Z]\w+)\.$", first)
        assert middle
        assert norm(middle[1]) not in asked, "the question names the person only"


@pytest.mark.parametrize("hops", [1, 2])
def test_shuffled_passages_ask_the_same_but_tell_otherwise(hops: int) -> None:
    chance = 0
    for seed in range(60):
        plain = question(random.Random(seed), 600, hops)[0]
        mixed = question(random.Random(seed), 600, hops, shuffled=True)[0]
        assert plain.answer == mixed.answer
        assert plain.user.rsplit("\n", 1)[1] == mixed.user.rsplit("\n", 1)[1]
        assert all(step in plain.user for step in plain.expect["steps"])
        chance += all(step in mixed.user for step in mixed.expect["steps"])
        assert tokens_of_turns([plain]) <= 600
    assert chance <= 2


def test_permuting_keeps_names_and_values() -> None:
    rng = random.Random(3)
    entries: list = []
    for _ in range(9):
        entries.append(entry(rng, entries, "place"))
    mixed = permuted(rng, entries)
    assert {item.person for item in mixed} == {item.person for item in entries}
    assert {item.middle for item in mixed} == {item.middle for item in entries}
    assert not {item.first for item in mixed} & {item.first for item in entries}


def test_every_draw_invents_another_encyclopaedia() -> None:
    told = [set(_passages(question(random.Random(seed), 400)[0].user)) for seed in range(20)]
    assert all(not one & other for one in told for other in told if one is not other)


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_the_checker_wants_the_last_fact(skill: Skill) -> None:
    rng = random.Random(4)
    for _ in range(40):
        turn = draw(skill, rng, "test", budget=300)[-1]
        assert split_of(turn.key) == "test"
        assert turn.skill == skill.name
        assert skill.check(turn, turn.answer)
        assert not skill.check(turn, turn.answer[:-1] + " and more.")
        assert not skill.check(turn, turn.answer.rsplit(" ", 1)[0])
        assert not skill.check(turn, "")
        if len(turn.expect["steps"]) == 2:
            assert not skill.check(turn, turn.expect["steps"][0])
