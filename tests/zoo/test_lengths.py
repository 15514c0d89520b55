"""Requests that state a length: the references have it, other lengths are refused, measures are exact."""

import random

import pytest

from penstock.zoo.data import SKILLS
from penstock.zoo.data.base import Turn, split_of, tokens_of
from penstock.zoo.data.lengths import asked_length, measured_length, times, within
from penstock.zoo.data.measure import Length
from penstock.zoo.exams.answers import MAX_TOKENS

SIZED = ("counting", "lists", "lengths")


def turns(name: str, count: int = 400) -> list[Turn]:
    rng = random.Random(name)
    return [turn for _ in range(count) for turn in SKILLS[name].sample(rng)]


@pytest.mark.parametrize("name", SIZED)
def test_references_are_as_long_as_asked(name: str) -> None:
    for turn in turns(name):
        asked = asked_length(turn)
        assert asked is not None
        assert measured_length(turn, turn.answer) == asked.count, turn
        assert within(turn, turn.answer)
        assert SKILLS[name].check(turn, turn.answer)


@pytest.mark.parametrize("name", SIZED)
def test_an_answer_without_its_end_is_refused(name: str) -> None:
    for turn in turns(name, 150):
        asked = asked_length(turn)
        if asked is None or asked.count < 2:
            continue
        glue = "\n" if "\n" in turn.answer else ", " if ", " in turn.answer else " "
        short = glue.join(turn.answer.split(glue)[: -1 if asked.unit != "parts" else -3])
        assert not SKILLS[name].check(turn, short), (turn.user, short)


def test_the_state_of_a_length_is_in_words_items_sentences_parts_or_times() -> None:
    units = {length.unit for turn in turns("lengths") if (length := asked_length(turn))}
    assert units == {"words", "items", "sentences", "parts", "times"}
    other = Turn("yesno", "is it?", "No.")
    assert asked_length(other) is None
    for measure in (measured_length, within):
        with pytest.raises(ValueError, match="states no length"):
            measure(other, "No.")


def test_ten_per_cent_is_forgiven_and_no_more() -> None:
    turn = Turn("lists", "list 20 nouns", "", expect={"count": 20, "theme": "nouns"})
    for count, fits in ((18, True), (22, True), (17, False), (23, False)):
        assert within(turn, "\n".join(f"{i}. Word" for i in range(1, count + 1))) is fits


def test_numbers_and_headings_are_neither_words_nor_sentences() -> None:
    def of(unit: str) -> Turn:
        return Turn("lengths", "", "", expect={"unit": unit, "count": 2, "text": "hello world"})

    assert asked_length(of("words")) == Length("words", 2)
    assert measured_length(of("words"), "1. Two words") == 2
    assert measured_length(of("sentences"), "1. One.\n2. Two!") == 2
    assert measured_length(of("sentences"), "First, one. Second, two.") == 2
    assert measured_length(of("items"), "1. Two, 2. Three, 3. Ice cream.") == 3
    assert measured_length(of("parts"), "Part 1\nOne. Two.\n\nPart 2\nThree.") == 2
    assert measured_length(of("times"), times("hello world", 7)) == 7
    assert measured_length(of("times"), "hello worlds hello world") == 1


def test_lengths_have_a_heavy_tail_and_both_splits() -> None:
    sizes = sorted(tokens_of(turn.answer) for name in SIZED for turn in turns(name, 1000))
    middle, late = sizes[len(sizes) // 2], sizes[len(sizes) * 98 // 100]
    assert middle < 70 and late > 4 * middle and 400 < sizes[-1] < 700
    assert {split_of(turn.key) for turn in turns("lengths")} == {"train", "test"}


@pytest.mark.parametrize("name", [*SIZED, "steps"])
def test_no_reference_is_longer_than_what_an_exam_lets_a_model_write(name: str) -> None:
    assert max(tokens_of(turn.answer) for turn in turns(name, 1000)) <= MAX_TOKENS
