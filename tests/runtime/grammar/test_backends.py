"""Each backend alone, and both side by side: they allow the same on the same prefixes."""

import json

import numpy as np
import pytest

from penstock.core.errors import ConfigError
from penstock.runtime.grammar.backends import open_backend, resolve_backend
from penstock.runtime.grammar.protocol import GrammarError
from tests.runtime.grammar.local import EOS, allowed, byte_vocabulary, feed, spec, texts

VOCABULARY = byte_vocabulary()
BACKENDS = ("xgrammar", "llguidance")
TASTE = {*b" \n\t\r\x7f\\"}

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["a", "bc", 3]},
        "on": {"type": "boolean"},
    },
    "required": ["name", "age"],
}


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request):
    return open_backend(request.param, VOCABULARY)


@pytest.fixture(scope="module")
def both():
    return [open_backend(name, VOCABULARY) for name in BACKENDS]


def matcher_of(backend, of):
    return backend.load(of, backend.compile(of)).matcher()


def test_a_stop_id_is_allowed_exactly_when_the_text_may_end(backend):
    matcher = matcher_of(backend, spec("regex", "ab?"))
    assert texts(matcher, VOCABULARY) == {b"a", b"ab"}
    assert feed(matcher, b"a")
    assert texts(matcher, VOCABULARY) == {b"b", None}
    assert feed(matcher, b"b")
    assert texts(matcher, VOCABULARY) == {None}
    assert not matcher.accept(ord("b"))
    assert not matcher.is_terminated()
    assert matcher.accept(EOS)
    assert matcher.is_terminated()
    assert allowed(matcher, VOCABULARY) == set()
    assert not matcher.accept(ord("b"))


def test_rollback_and_fork(backend):
    matcher = matcher_of(backend, spec("regex", "abc|abd"))
    before = allowed(matcher, VOCABULARY)
    assert feed(matcher, b"ab")
    copy = matcher.fork()
    assert feed(matcher, b"c")
    assert matcher.accept(EOS)
    assert texts(copy, VOCABULARY) == {b"c", b"d"}
    matcher.rollback(2)
    assert texts(matcher, VOCABULARY) == {b"c", b"d"}
    matcher.rollback(2)
    assert allowed(matcher, VOCABULARY) == before


def test_forced_text(backend):
    matcher = matcher_of(backend, spec("regex", "hello( there)?"))
    assert matcher.forced() == b"hello"


def test_choices(backend):
    matcher = matcher_of(backend, spec("choice", json.dumps(["yes", 'q"\\', "größe"])))
    assert texts(matcher, VOCABULARY) == {b"y", b"q", b"g"}
    assert feed(matcher, "größe".encode())
    assert texts(matcher, VOCABULARY) == {None}
    assert feed(matcher_of(backend, spec("choice", json.dumps(["yes", 'q"\\', "größe"]))), b'q"\\')


def test_ebnf(backend):
    matcher = matcher_of(backend, spec("grammar", 'root ::= "a" root | "b"'))
    assert feed(matcher, b"aab")
    assert texts(matcher, VOCABULARY) == {None}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("regex", "a("),
        ("regex", "a{2,1}"),
        ("grammar", 'root ::= "a" | nope'),
        ("json_schema", '{"not": {}}'),
        ("json_schema", '{"type": "foo"}'),
        ("json_schema", '{"type": "integer", "minimum": 3, "maximum": 1}'),
        ("json_schema", "{"),
    ],
)
def test_what_cannot_be_compiled_is_refused_in_one_line(backend, kind, text):
    with pytest.raises(GrammarError) as refused:
        backend.compile(spec(kind, text))
    assert str(refused.value)
    assert "\n" not in str(refused.value)
    assert ".cc:" not in str(refused.value)


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        {"enum": [1, "x", None]},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
    ],
)
def test_both_allow_the_same_on_the_same_prefixes(both, schema):
    """But for blanks, escapes and DEL, of which each library allows what it likes."""
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(6):
        one, other = (matcher_of(backend, spec("json_schema", json.dumps(schema))) for backend in both)
        for _ in range(60):
            sets = [
                {token for token in allowed(m, VOCABULARY) if not TASTE & {*VOCABULARY.tokens[token]}}
                for m in (one, other)
            ]
            assert sets[0] == sets[1]
            compared += 1
            token = int(rng.choice(sorted(sets[0])))
            assert one.accept(token)
            assert other.accept(token)
            if token == EOS:
                break
    assert compared >= 12


def test_strings_hold_no_control_characters_and_no_halves_of_pairs(backend):
    """With a length bound too."""
    for schema in ({"type": "string"}, {"type": "string", "maxLength": 5}):
        matcher = matcher_of(backend, spec("json_schema", json.dumps(schema)))
        assert feed(matcher, b'"')
        assert not {bytes((i,)) for i in range(32)} & texts(matcher, VOCABULARY)
        assert b"\xed\xa0\x80" not in texts(matcher, VOCABULARY)
        assert feed(matcher, b"\xed")
        assert {t[:1] for t in texts(matcher, VOCABULARY)} <= {bytes((i,)) for i in range(0x80, 0xA0)}
        matcher.rollback(1)
        assert b"a" in texts(matcher, VOCABULARY)


def test_texts_survive_the_mending_of_strings():
    """A constant that reads like an escape once written out."""
    backend = open_backend("xgrammar", VOCABULARY)
    texts_ = ["größe", "\\xdfe", "日本e1", "😀f", "\x7fa", "é"]
    schema = {
        "type": "object",
        "properties": {"s": {"type": "string", "maxLength": 3}, "c": {"enum": texts_}},
        "required": ["c"],
    }
    for text in texts_:
        matcher = matcher_of(backend, spec("json_schema", json.dumps(schema)))
        assert feed(matcher, b'{"c":')
        written = [json.dumps(text, ensure_ascii=False), json.dumps(text)]
        assert any(feed(matcher.fork(), way.encode()) for way in written), text


def test_strict_closes_objects(backend):
    for strict in (True, False):
        matcher = matcher_of(
            backend, spec("json_schema", '{"type":"object","properties":{"a":{}}}', strict=strict)
        )
        assert feed(matcher, b'{"b":1}') is not strict


def test_control_tokens_are_out_of_reach_but_where_a_tag_names_them():
    backend = open_backend("xgrammar", VOCABULARY)
    call = next(iter(VOCABULARY.specials))
    string = matcher_of(backend, spec("json_schema", '{"type":"string"}'))
    assert feed(string, b'"')
    assert call not in allowed(string, VOCABULARY)
    tag = {
        "begin": "<|call|>",
        "content": {"type": "json_schema", "json_schema": {"type": "boolean"}},
        "end": ".",
    }
    text = json.dumps(
        {
            "type": "structural_tag",
            "format": {"type": "triggered_tags", "triggers": ["<|call|>"], "tags": [tag]},
        }
    )
    tagged = matcher_of(backend, spec("structural_tag", text))
    assert tagged.accept(call)
    assert texts(tagged, VOCABULARY) >= {b"t", b"true"}
    assert feed(tagged, b"true.")
    assert None in texts(tagged, VOCABULARY)


def test_llguidance_says_what_it_lacks():
    with pytest.raises(GrammarError, match="xgrammar"):
        open_backend("llguidance", VOCABULARY).compile(spec("structural_tag", "{}"))
    with pytest.raises(GrammarError, match="end-of-sequence"):
        open_backend("llguidance", byte_vocabulary(stop_ids=()))


def test_the_setting_chooses(monkeypatch):
    assert resolve_backend("auto") == "xgrammar"
    assert resolve_backend("llguidance") == "llguidance"
    assert resolve_backend("off") is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "xgrammar" else object())
    assert resolve_backend("auto") == "llguidance"
    with pytest.raises(ConfigError, match="not installed"):
        resolve_backend("xgrammar")
