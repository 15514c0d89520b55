"""Bins hold each prompt once and no more than fits, in few bins."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.runtime.padded.packing import by_length, first_fit_decreasing

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


def fewest(lengths, capacity):
    """The fewest bins, by exhaustive search with pruning."""
    lengths = sorted(lengths, reverse=True)
    best = len(lengths)

    def place(at, room):
        nonlocal best
        if len(room) >= best:
            return
        if at == len(lengths):
            best = len(room)
            return
        for i in {r: i for i, r in enumerate(room) if r >= lengths[at]}.values():
            room[i] -= lengths[at]
            place(at + 1, room)
            room[i] += lengths[at]
        place(at + 1, [*room, capacity - lengths[at]])

    place(0, [])
    return best


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lengths=LENGTHS, slack=st.integers(0, 20))
def test_bins_cover_each_prompt_once_within_bounds(lengths, slack):
    capacity = max(lengths) + slack
    bins = first_fit_decreasing(lengths, capacity)
    assert sorted(n for members in bins for n in members) == list(range(len(lengths)))
    assert all(sum(lengths[n] for n in members) <= capacity for members in bins)
    assert -(-sum(lengths) // capacity) <= len(bins) <= len(lengths)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=9))
def test_first_fit_decreasing_is_within_eleven_ninths(lengths):
    capacity = max(20, max(lengths))
    assert len(first_fit_decreasing(lengths, capacity)) <= 11 / 9 * fewest(lengths, capacity) + 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        first_fit_decreasing([3, 9], 8)
    with pytest.raises(ValueError, match="does not fit"):
        first_fit_decreasing([0], 8)


def test_ordering_keeps_like_lengths_together():
    assert by_length([5, 1, 9, 2, 5], 2) == [[1, 3], [0, 4], [2]]
