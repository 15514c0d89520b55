"""Schemas of which a part would be ignored are refused, with the place."""

import json

import pytest

from penstock.runtime.grammar.protocol import GrammarError
from penstock.runtime.grammar.schema import MAX_DEPTH, check_schema
from penstock.testing.schemas import SchemaGenerator


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"not": {}}, "the schema: the keyword 'not'"),
        (
            {"properties": {"a": {"items": {"uniqueItems": True}}}},
            "properties.a.items: the keyword 'uniqueItems'",
        ),
        ({"anyOf": [{}, {"if": {}}]}, "anyOf[1]: the keyword 'if'"),
        ({"allOf": [{}, {}]}, "allOf"),
        ({"$ref": "http://elsewhere/x"}, "does not point into"),
        ({"pattern": "a", "maxLength": 2}, "'pattern' beside"),
        ({"anyOf": [{}], "properties": {}}, "'properties' beside 'anyOf'"),
        ({"$ref": "#/$defs/a", "required": ["x"]}, "'required' beside '$ref'"),
        ({"items": [{}]}, "items: expected a schema"),
        (7, "expected a schema"),
    ],
)
def test_refused(schema, says):
    with pytest.raises(GrammarError) as refused:
        check_schema(json.dumps(schema))
    assert says in str(refused.value)


def test_not_json_and_too_deep():
    with pytest.raises(GrammarError, match="JSON schema"):
        check_schema("{")
    deep = {}
    for _ in range(MAX_DEPTH + 1):
        deep = {"items": deep}
    with pytest.raises(GrammarError, match="levels deep"):
        check_schema(json.dumps(deep))


def test_words_that_only_look_like_keywords_pass():
    check_schema(
        '{"properties": {"not": {"type": "string"}, "if": {"const": {"not": 1}}}, "uniqueItems": false}'
    )
    check_schema("true")
    generator = SchemaGenerator(5)
    for _ in range(50):
        check_schema(json.dumps(generator.schema()))
