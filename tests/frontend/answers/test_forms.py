"""Structural tags, compiled by xgrammar: what they let through is what the parsers read."""

import json
import random

import jsonschema
import pytest
import xgrammar as xg
from xgrammar.testing import _is_grammar_accept_string as accepts

from penstock.frontend.answers.build import TOOL_PARSERS
from penstock.frontend.answers.forms import after_thinking, calls_format, structural_tag
from penstock.frontend.answers.schemas import arguments_schema
from tests.frontend.answers.reading import plain, read

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 4},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", "F"]},
        "at": {"$ref": "#/$defs/place"},
    },
    "required": ["city", "at"],
    "$defs": {"place": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]}},
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "null"}}}}},
    {"type": "function", "function": {"name": "now"}},
]
GIVEN = '{"city": "x", "days": 3, "at": {"x": true}}'
ONE = {
    "hermes": f'<tool_call>\n{{"name": "get_weather", "arguments": {GIVEN}}}\n</tool_call>',
    "llama3_json": f'{{"name": "get_weather", "parameters": {GIVEN}}}',
    "mistral": f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {GIVEN}}}]',
    "mistral_args": f"[TOOL_CALLS]get_weather[ARGS]{GIVEN}",
    "pythonic": '[get_weather(city="x", at={"x": true}, days=3)]',
}
TWO = {
    "hermes": f'{ONE["hermes"]}\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>',
    "llama3_json": f'{ONE["llama3_json"]}; {{"name": "now", "parameters": {{}}}}',
    "mistral": ONE["mistral"][:-1] + ', {"name": "now", "arguments": {}}]',
    "mistral_args": ONE["mistral_args"] + "[TOOL_CALLS]now[ARGS]{}",
    "pythonic": ONE["pythonic"][:-1] + ", now()]",
}


def grammar(form, **how):
    return xg.Grammar.from_structural_tag(structural_tag(calls_format(form, TOOLS, **how)))


@pytest.mark.parametrize("form", sorted(TOOL_PARSERS))
@pytest.mark.parametrize("parallel", [False, True])
def test_required_lets_calls_through_and_nothing_else(form, parallel):
    rules = grammar(form, required=True, parallel=parallel)
    assert accepts(rules, ONE[form]) and accepts(rules, TWO[form]) == parallel
    for bad in ("", "text", ONE[form][:-1], f"text {ONE[form]}", f"{ONE[form]} text"):
        assert not accepts(rules, bad)
    for old, new in (("get_weather", "get_time"), ("3", '"3"'), ("true", "1"), ('"x",', '"too long",')):
        assert old in ONE[form] and not accepts(rules, ONE[form].replace(old, new))


@pytest.mark.parametrize("form", sorted(TOOL_PARSERS))
@pytest.mark.parametrize("parallel", [False, True])
def test_auto_lets_text_through_and_binds_a_call_that_has_begun(form, parallel):
    rules = grammar(form, required=False, parallel=parallel)
    for good in ("", "text {[(<", ONE[form], f"text {ONE[form]}"):
        assert accepts(rules, good)
    assert accepts(rules, TWO[form]) == parallel
    for old, new in (("3", '"3"'), ("true", "1")):
        assert not accepts(rules, f"text {ONE[form].replace(old, new)}")


@pytest.mark.parametrize("form", sorted(TOOL_PARSERS))
def test_what_is_let_through_is_what_the_parser_reads(form):
    names = [tool["function"]["name"] for tool in TOOLS]
    reasoning, text, calls = plain(read([TWO[form]], form, tools=TOOLS))
    assert (reasoning, text) == ("", "") and [name for name, _ in calls] == ["get_weather", "now"]
    for name, arguments in calls:
        jsonschema.validate(json.loads(arguments), arguments_schema(TOOLS[names.index(name)]))


VOCABULARY = [bytes([code]) for code in range(128)] + [
    b"</s>", b"[TOOL_CALLS]", b"[ARGS]", b"get_weather", b'{"name": "',
]  # fmt: skip
END = 128


@pytest.mark.parametrize("form", sorted(TOOL_PARSERS))
@pytest.mark.parametrize("parallel", [False, True])
def test_random_walks_through_the_mask_end_in_valid_calls(form, parallel):
    info = xg.TokenizerInfo(VOCABULARY, stop_token_ids=[END])
    compiled = xg.GrammarCompiler(info, max_threads=1).compile_structural_tag(
        structural_tag(calls_format(form, TOOLS, required=True, parallel=parallel))
    )
    by_name = {tool["function"]["name"]: arguments_schema(tool) for tool in TOOLS}
    ended = 0
    for seed in range(12):
        text = walk(compiled, random.Random(seed))
        if text is None:
            continue
        ended += 1
        reasoning, said, calls = plain(read([text], form, tools=TOOLS))
        assert (reasoning, said) == ("", "") and calls, text
        assert parallel or len(calls) == 1
        for name, arguments in calls:
            jsonschema.validate(json.loads(arguments), by_name[name])
    assert ended >= 6


def allowed(matcher):
    """Return the tokens that the mask lets through."""
    bitmask = xg.allocate_token_bitmask(1, len(VOCABULARY))
    matcher.fill_next_token_bitmask(bitmask)
    return [i for i in range(len(VOCABULARY)) if int(bitmask[0, i // 32]) >> (i % 32) & 1]


def walk(compiled, rng, most=400):
    """Return a text drawn under the mask at random, or None if it did not end."""
    matcher, text = xg.GrammarMatcher(compiled), b""
    for _ in range(most):
        tokens = allowed(matcher)
        token = END if END in tokens and rng.random() < 0.5 else rng.choice(tokens)
        assert matcher.accept_token(token)
        if token == END:
            return text.decode()
        text += VOCABULARY[token]
    return None


def test_reasoning_before_calls():
    calls = calls_format("hermes", TOOLS, required=True, parallel=True)

    def rules(rest, **how):
        tag = structural_tag(
            after_thinking("<think>", "</think>", rest, **{"opened": False, "budget": None, **how})
        )
        return xg.Grammar.from_structural_tag(tag)

    optional = rules(calls)
    assert accepts(optional, ONE["hermes"]) and accepts(optional, f"<think>\nhm</think>\n\n{ONE['hermes']}")
    assert not accepts(optional, f"<think>hm {ONE['hermes']}") and not accepts(
        optional, "<think>hm</think>text"
    )
    opened = rules(calls, opened=True)
    assert accepts(opened, f"hm</think>\n{ONE['hermes']}") and not accepts(opened, ONE["hermes"])
    free = rules(None)
    assert accepts(free, "text") and accepts(free, "<think>a</think>text") and not accepts(free, "<think>a")


def test_a_budget_ends_the_reasoning():
    info = xg.TokenizerInfo(VOCABULARY, stop_token_ids=[END])
    tag = structural_tag(after_thinking("<think>", "</think>", None, opened=True, budget=3))
    matcher = xg.GrammarMatcher(xg.GrammarCompiler(info, max_threads=1).compile_structural_tag(tag))
    for _ in range(3):
        assert len(allowed(matcher)) > 120 and matcher.accept_token(ord("a"))
    for byte in b"</think>":
        assert allowed(matcher) == [byte] and matcher.accept_token(byte)
    assert ord("a") in allowed(matcher)


def test_strict_closes_objects_and_false_opens_them():
    def of(**function):
        return arguments_schema({"function": {"name": "f", **function}})

    named = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {}}}}}
    assert of(parameters=named) == named
    opened = of(parameters=named, strict=False)
    assert opened["additionalProperties"] is True
    assert opened["properties"]["a"]["additionalProperties"] is True
    assert "additionalProperties" not in opened["properties"]
    assert of()["additionalProperties"] is False and of(parameters={})["properties"] == {}
    assert of(parameters={"type": "object"})["additionalProperties"] is True
