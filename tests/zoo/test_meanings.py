"""Pairs of one meaning: the same by seed, apart by split, endless, and about what they say."""

import itertools
import random

import pytest

from penstock.zoo.data.base import norm
from penstock.zoo.data.meanings import PHRASED, SOURCES, Meanings, Pair, distinct


@pytest.fixture(scope="module")
def train() -> Meanings:
    return Meanings(3, "train", 600)


@pytest.fixture(scope="module")
def test() -> Meanings:
    return Meanings(4, "test", 600)


def drawn(
    known: Meanings, source: str, count: int, seed: int = 1, skills: tuple[str, ...] = ()
) -> list[Pair]:
    return list(itertools.islice(known.pairs(random.Random(seed), source, skills), count))  # type: ignore[arg-type]


@pytest.mark.parametrize("source", SOURCES)
def test_no_meaning_is_in_both_splits(train: Meanings, test: Meanings, source: str) -> None:
    seen, unseen = drawn(train, source, 1500), drawn(test, source, 300)
    assert not {pair.meaning for pair in seen} & {pair.meaning for pair in unseen}
    assert len({pair.meaning for pair in unseen}) > 10


@pytest.mark.parametrize("source", SOURCES)
def test_pairs_repeat_by_seed(train: Meanings, source: str) -> None:
    assert drawn(train, source, 20) == drawn(train, source, 20) != drawn(train, source, 20, seed=2)
    again = Meanings(3, "train", 600)
    assert drawn(again, source, 20) == drawn(train, source, 20)


def test_paraphrases_are_two_phrasings_of_one_thing(train: Meanings) -> None:
    for pair in drawn(train, "paraphrase", 200, skills=("lists",)):
        assert pair.meaning.startswith("lists: ")
        assert norm(pair.query) != norm(pair.match)
        number = pair.meaning.split()[-2]
        assert not ({*norm(pair.query).split()} & {str(n) for n in range(30)}) - {number}
    assert {pair.meaning.split(":")[0] for pair in drawn(train, "paraphrase", 600)} == set(PHRASED)


def test_a_chunk_tells_what_is_asked_for_and_a_definition_the_answer(train: Meanings) -> None:
    for pair in drawn(train, "chunk", 100):
        about = pair.meaning.removeprefix("chunk: ").split()
        assert about[0].lower() in norm(pair.match) and pair.match.endswith(".")
    for pair in drawn(train, "definition", 100):
        assert pair.meaning.split(": ", 1)[1] == norm(pair.match)


def test_distinct_leaves_out_what_means_or_reads_the_same_and_gives_up() -> None:
    same = [Pair("a", "x", "1"), Pair("b", "y", "1"), Pair("c", "X!", "2"), Pair("d", "z", "3")]
    assert distinct(iter(same), 9) == [same[0], same[3]]
    assert distinct(itertools.cycle(same), 9) == [same[0], same[3]]
    assert distinct(itertools.cycle(same), 1) == [same[0]]
