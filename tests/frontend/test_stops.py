from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.frontend.text.stops import StopMatcher, StopPattern


def run(stops, chunks, include=False):
    matcher = StopMatcher([StopPattern(s) for s in stops], include)
    out = [matcher.push(chunk) for chunk in chunks]
    if matcher.found is None:
        out.append(matcher.flush())
    return "".join(out), matcher.found


def slow(stops, text, include=False):
    """Specification: the first place at which a stop string is complete; the longest of those."""
    for end in range(1, len(text) + 1):
        done = [s for s in stops if text[:end].endswith(s)]
        if done:
            stop = max(done, key=len)
            return text[: end if include else end - len(stop)], stop
    return text, None


@settings(max_examples=300, deadline=None)
@given(
    text=st.text("ab\n", max_size=24),
    stops=st.lists(st.text("ab\n", min_size=1, max_size=5), max_size=3),
    cuts=st.lists(st.integers(0, 24), max_size=8),
    include=st.booleans(),
)
def test_any_cutting_gives_the_specified_text(text, stops, cuts, include):
    edges = sorted({0, len(text), *(c for c in cuts if c < len(text))})
    chunks = [text[a:b] for a, b in pairwise(edges)]
    assert run(stops, chunks, include) == slow(stops, text, include)


def test_holds_back_only_what_may_be_a_stop():
    matcher = StopMatcher([StopPattern("END.")])
    assert matcher.push("the E") == "the "
    assert matcher.push("ND") == ""
    assert matcher.push("s ") == "ENDs "
    assert matcher.push("EEND") == "E"
    assert matcher.push(".more") == ""
    assert matcher.found == "END."


def test_stop_can_be_left_in():
    assert run(["END"], ["the E", "ND of"], include=True) == ("the END", "END")


def test_empty_stop_is_refused():
    with pytest.raises(ValueError):
        StopPattern("")
