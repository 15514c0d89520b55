"""Grammars that begin after a text."""

import json

import pytest

from penstock.runtime.grammar.after import AfterMatcher, Marker
from tests.runtime.grammar.local import (
    EOS,
    LONGER,
    LocalGrammars,
    allowed,
    byte_vocabulary,
    feed,
    spec,
    texts,
)

VOCABULARY = byte_vocabulary()
CLOSE = 257 + LONGER.index(b"</think>")
BEYOND = 257 + LONGER.index(b">{")
BLANKS = 257 + LONGER.index(b"> \n")


@pytest.fixture
def matcher():
    source = LocalGrammars(VOCABULARY)
    of = spec("choice", json.dumps(["yes", "no"]))
    inner = source.compile(of).result().matcher()
    return AfterMatcher(inner, Marker(b"</think>", VOCABULARY.tokens), VOCABULARY.stop_ids)


def test_asleep_everything_goes_but_the_end(matcher):
    assert feed(matcher, b"what <</thin? ")
    free = allowed(matcher, VOCABULARY)
    assert EOS not in free
    assert len(free) == VOCABULARY.size - 1
    assert not matcher.awake


def test_the_text_wakes_it_however_it_is_spelt(matcher):
    copy = matcher.fork()
    assert matcher.accept(CLOSE)
    assert feed(copy, b"<</think>")
    for one in (matcher, copy):
        assert one.awake
        assert texts(one, VOCABULARY) == {b"y", b"n"}
    assert feed(matcher, b"yes")
    assert matcher.accept(EOS)
    assert matcher.is_terminated()
    assert not copy.is_terminated()


def test_a_token_must_not_write_the_end_of_the_text_and_more(matcher):
    assert feed(matcher, b"</think")
    free = allowed(matcher, VOCABULARY)
    assert BEYOND not in free
    assert BLANKS in free
    assert not matcher.fork().accept(BEYOND)
    assert matcher.accept(BLANKS)
    assert texts(matcher, VOCABULARY) == {b"y", b"n"}


def test_rollback_goes_back_to_sleep(matcher):
    assert feed(matcher, b"</think>y")
    matcher.rollback(1)
    assert texts(matcher, VOCABULARY) == {b"y", b"n"}
    matcher.rollback(1)
    assert not matcher.awake
    assert BEYOND not in allowed(matcher, VOCABULARY)
    assert matcher.accept(ord(">"))
    assert matcher.awake
