"""Every spelling of structured output comes down to one form; two at once are refused."""

import json

import pytest

from penstock.core.errors import InvalidRequest
from penstock.server.errors import from_exception
from penstock.server.schemas.chat import ChatRequest
from penstock.server.schemas.completion import CompletionRequest
from penstock.server.structured import grammar_of

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TAG = {"type": "structural_tag", "format": {"type": "any_text"}}


def chat(**fields):
    return ChatRequest.model_validate_json(
        json.dumps({"messages": [{"role": "user", "content": "x"}], **fields})
    )


@pytest.mark.parametrize(
    ("fields", "kind", "field"),
    [
        ({"response_format": {"type": "json_object"}}, "json_object", "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            "json_schema",
            "response_format.json_schema.schema",
        ),
        ({"response_format": TAG}, "structural_tag", "response_format"),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", "structured_outputs.json"),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, "json_schema", "structured_outputs.json"),
        ({"structured_outputs": {"regex": "a+"}}, "regex", "structured_outputs.regex"),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "choice", "structured_outputs.choice"),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, "grammar", "structured_outputs.grammar"),
        ({"structured_outputs": {"json_object": True}}, "json_object", "structured_outputs.json_object"),
        (
            {"structured_outputs": {"structural_tag": TAG}},
            "structural_tag",
            "structured_outputs.structural_tag",
        ),
        ({"guided_json": SCHEMA}, "json_schema", "guided_json"),
        ({"guided_regex": "a"}, "regex", "guided_regex"),
        ({"guided_choice": ["a"]}, "choice", "guided_choice"),
        ({"guided_grammar": 'root ::= "a"'}, "grammar", "guided_grammar"),
        ({"json_schema": json.dumps(SCHEMA)}, "json_schema", "json_schema"),
        ({"regex": "a"}, "regex", "regex"),
        ({"ebnf": 'root ::= "a"'}, "grammar", "ebnf"),
        ({"structural_tag": json.dumps(TAG)}, "structural_tag", "structural_tag"),
    ],
)
def test_spellings(fields, kind, field):
    for body in (
        chat(**fields),
        CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields})),
    ):
        found = grammar_of(body)
        assert (found.kind, found.field) == (kind, field)
        if kind == "json_schema":
            assert json.loads(found.text) == SCHEMA
            assert found.strict


def test_nothing_asked():
    assert grammar_of(chat()) is None
    assert grammar_of(chat(response_format={"type": "text"})) is None
    assert grammar_of(chat(response_format=None, guided_json=None, structured_outputs=None)) is None


def test_strict_false_and_no_schema():
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": False}}
    assert not grammar_of(chat(response_format=form)).strict
    form = {"type": "json_schema", "json_schema": {"name": "x"}}
    assert grammar_of(chat(response_format=form)).text == "true"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}, "regex": "a"}, "regex"),
        ({"structured_outputs": {"json": SCHEMA, "regex": "a"}}, "structured_outputs.regex"),
        ({"guided_json": SCHEMA, "guided_choice": ["a"]}, "guided_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "structural_tag"}}, "response_format.format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": [""]}}, "structured_outputs.choice[0]"),
        ({"guided_json": "{nope"}, "guided_json"),
        ({"guided_json": "[1]"}, "guided_json"),
        ({"regex": ""}, "regex"),
        ({"regex": 7}, "regex"),
    ],
)
def test_refusals_name_the_field(fields, param):
    with pytest.raises((InvalidRequest, ValueError)) as refused:
        grammar_of(chat(**fields))
    answer = from_exception(refused.value)
    assert answer.status == 400
    assert answer.param == param
