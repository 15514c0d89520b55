"""The retrieval exam: what is counted, whom it tells apart, and the baseline by hand."""

import math

import numpy as np
import pytest

from penstock.zoo.data.meanings import Pair
from penstock.zoo.exams.rows import wilson
from penstock.zoo.retrieval import Search, TfIdf, score, searches


def test_first_and_among_five_are_counted_by_rank() -> None:
    """Text i has the angle i; queries stand at, beside, and far from their own text."""
    texts = [f"t{i}" for i in range(10)]
    angle = {text: 0.1 * i for i, text in enumerate(texts)} | {"q0": 0.01, "q1": 0.33, "q2": 0.9}

    def encode(asked):
        return np.array([[math.cos(angle[text]), math.sin(angle[text])] for text in asked])

    search = Search([Pair(f"q{i}", f"t{i}", str(i)) for i in range(3)], texts[3:])
    found = score(encode, "chunk", [search])
    assert (found.first, found.five, found.queries, found.among) == (1 / 3, 2 / 3, 3, 10)
    assert (found.first_low, found.first_high) == wilson(1, 3)
    assert (found.five_low, found.five_high) == wilson(2, 3)


def test_who_calls_all_texts_alike_finds_nothing() -> None:
    search = Search([Pair(f"q{i}", f"t{i}", str(i)) for i in range(7)], [])
    found = score(lambda texts: np.ones((len(texts), 2)), "chunk", [search])
    assert found.first == found.five == 0


def test_rare_words_weigh_more() -> None:
    encode = TfIdf(["the cat", "the dog", "the cow"])
    own, other = (encode(["the cat"]) @ encode(["a cat", "the dog"]).T)[0]
    assert 1 > own > other > 0
    common, rare = math.log(4 / 4) + 1, math.log(4 / 2) + 1
    alike = (encode(["the cat"]) @ encode(["the dog"]).T).item()
    assert alike == pytest.approx(common**2 / (common**2 + rare**2), rel=1e-5)
    assert not encode([""]).any()


def test_searches_are_of_held_out_pairs_and_filled_up() -> None:
    first, second = searches("definition", seed=2, rounds=2, among=60, draws=800)
    assert first.asked != second.asked and first.others
    assert len(first.asked) + len(first.others) == 60
    texts = [pair.match for pair in first.asked] + first.others
    assert len(set(texts)) == 60
    again = searches("definition", seed=2, rounds=1, among=60, draws=800)
    assert again == [first] and searches("definition", seed=3, rounds=1, among=60, draws=800) != again
