"""Structural tags, compiled by xgrammar: what they let through is what the parsers read."""

import json
import random

import jsonschema
import pytest
import xgrammar as xg
from xgrammar.testing import _is_grammar_accept_string as accepts

from penstock.frontend.answers.build import TOOL_PARSERS
from penstock.frontend.answers.deepseek import CALL, CALL_END, CALLS, CALLS_END, SEP
from penstock.frontend.answers.formats import schema, structural_tag
from penstock.frontend.answers.forms import after_thinking, calls_format, said_format
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
    "qwen3_coder": "<tool_call>\n<function=get_weather>\n<parameter=city>\nx\n</parameter>\n"
    '<parameter=days>\n3\n</parameter>\n<parameter=at>\n{"x": true}\n</parameter>\n</function>\n</tool_call>',
    "glm45": "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>x</arg_value>\n"
    "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n"
    '<arg_key>at</arg_key>\n<arg_value>{"x": true}</arg_value>\n</tool_call>',
    "deepseek_v3": f"{CALLS}{CALL}function{SEP}get_weather\n```json\n{GIVEN}\n```{CALL_END}{CALLS_END}",
    "deepseek_v31": f"{CALLS}{CALL}get_weather{SEP}{GIVEN}{CALL_END}{CALLS_END}",
    "harmony": f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{GIVEN}",
}
TWO = {
    "hermes": f'{ONE["hermes"]}\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>',
    "llama3_json": f'{ONE["llama3_json"]}; {{"name": "now", "parameters": {{}}}}',
    "mistral": ONE["mistral"][:-1] + ', {"name": "now", "arguments": {}}]',
    "mistral_args": ONE["mistral_args"] + "[TOOL_CALLS]now[ARGS]{}",
    "pythonic": ONE["pythonic"][:-1] + ", now()]",
    "qwen3_coder": ONE["qwen3_coder"] + "\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
    "glm45": ONE["glm45"] + "\n<tool_call>now</tool_call>",
    "deepseek_v3": ONE["deepseek_v3"].removesuffix(CALLS_END)
    + f"\n{CALL}function{SEP}now\n```json\n{{}}\n```{CALL_END}{CALLS_END}",
    "deepseek_v31": ONE["deepseek_v31"].removesuffix(CALLS_END) + f"{CALL}now{SEP}{{}}{CALL_END}{CALLS_END}",
}
SEVERAL = sorted(TWO)


LONG = [('"x",', '"too long",')]
TOO_LONG = {
    "qwen3_coder": [("\nx\n", "\ntoo long\n"), ("\nx\n", "\nx</parameter>\n")],
    "glm45": [(">x<", ">too long<"), (">x<", "></arg_value><")],
}


def grammar(form, **how):
    return xg.Grammar.from_structural_tag(structural_tag(calls_format(form, TOOLS, **how)))


@pytest.mark.parametrize("form", sorted(TOOL_PARSERS))
@pytest.mark.parametrize("parallel", [False, True])
def test_required_lets_calls_through_and_nothing_else(form, parallel):
    rules = grammar(form, required=True, parallel=parallel)
    assert accepts(rules, ONE[form])
    assert form not in TWO or accepts(rules, TWO[form]) == parallel
    for bad in ("", "text", ONE[form][:-1], f"text {ONE[form]}", f"{ONE[form]} text"):
        assert not accepts(rules, bad)
    for old, new in (("get_weather", "get_time"), ("3", '"3"'), ("true", "1"), *TOO_LONG.get(form, LONG)):
        assert old in ONE[form] and not accepts(rules, ONE[form].replace(old, new))


@pytest.mark.parametrize("form", sorted(TOOL_PARSERS))
@pytest.mark.parametrize("parallel", [False, True])
def test_auto_lets_text_through_and_binds_a_call_that_has_begun(form, parallel):
    rules = grammar(form, required=False, parallel=parallel)
    for good in ("", "text {[(<", ONE[form], f"text {ONE[form]}"):
        assert accepts(rules, good)
    assert form not in TWO or accepts(rules, TWO[form]) == parallel
    for old, new in (("3", '"3"'), ("true", "1")):
        assert not accepts(rules, f"text {ONE[form].replace(old, new)}")


@pytest.mark.parametrize("form", SEVERAL)
def test_what_is_let_through_is_what_the_parser_reads(form):
    names = [tool["function"]["name"] for tool in TOOLS]
    reasoning, text, calls = plain(read([TWO[form]], form, tools=TOOLS))
    assert (reasoning, text) == ("", "") and [name for name, _ in calls] == ["get_weather", "now"]
    for name, arguments in calls:
        jsonschema.validate(json.loads(arguments), arguments_schema(TOOLS[names.index(name)]))


VOCABULARY = [bytes([code]) for code in range(128)] + [
    b"</s>", b"[TOOL_CALLS]", b"[ARGS]", b"get_weather", b'{"name": "',
    *(mark.encode() for mark in (CALLS, CALLS_END, CALL, CALL_END, SEP)),
    *(bytes([code]) for code in sorted({*"｜▁".encode()})),
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
        if text is None or "\ufffd" in text:
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
            return text.decode(errors="replace")  # free text may hold any bytes
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


BARE = {
    "type": "object",
    "properties": {
        "open": {"type": "string"},
        "some": {"type": "string", "minLength": 2, "maxLength": 4},
        "one": {"anyOf": [{"const": "a"}, {"$ref": "#/$defs/b"}]},
        "like": {"type": "string", "pattern": "^[0-9]{3}$"},
        "perhaps": {"type": ["string", "null"]},
        "mixed": {"type": ["string", "integer"]},
    },
    "required": ["open"],
    "$defs": {"b": {"enum": ["b", "c"]}},
}


@pytest.mark.parametrize("form", ["qwen3_coder", "glm45"])
def test_bare_values_follow_their_schema(form):
    tools = [{"type": "function", "function": {"name": "f", "parameters": BARE}}]
    rules = xg.Grammar.from_structural_tag(
        structural_tag(calls_format(form, tools, required=True, parallel=False))
    )

    def call(**given):
        if form == "glm45":
            pairs = (f"<arg_key>{k}</arg_key><arg_value>{v}</arg_value>" for k, v in given.items())
            return f"<tool_call>f{''.join(pairs)}</tool_call>"
        parts = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in given.items())
        return f"<tool_call>\n<function=f>\n{parts}</function>\n</tool_call>"

    good = [
        ({"open": 'any "<text>"\n\n{ \\ é'}, {}),
        ({"open": "", "some": "ab"}, {}),
        ({"open": "x", "some": "abcd", "one": "c", "like": "123"}, {}),
        ({"open": "3", "perhaps": "null"}, {"perhaps": None}),
        ({"open": "null", "perhaps": "3", "mixed": "3"}, {"mixed": 3}),
        ({"open": "x", "mixed": '"3"'}, {"mixed": "3"}),
    ]
    for given, meant in good:
        text = call(**given)
        assert accepts(rules, text), text
        for pieces in ([text], list(text)):
            _, _, calls = plain(read(pieces, form, tools=tools))
            found = json.loads(calls[0][1])
            assert found == {**given, **meant}
            jsonschema.validate(found, BARE)
    bad = [{"some": "ab"}, {"open": "x", "other": "a"}]
    bad += [{"open": "x", key: value} for key, value in (("some", "a"), ("some", "abcde"), ("one", "d"))]
    bad += [{"open": "x", "like": "12"}, {"open": "x", "mixed": "a"}]
    assert not any(accepts(rules, call(**given)) for given in bad)


def test_harmony_says_what_was_asked_for_in_its_final_message():
    said = said_format("harmony", schema({"type": "integer"}))
    marks = "<|channel|>analysis<|message|>", "<|end|>"
    tag = structural_tag(after_thinking(*marks, said, opened=False, budget=None))
    rules = xg.Grammar.from_structural_tag(tag)
    assert accepts(rules, "<|channel|>final<|message|>3")
    thought = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>3"
    assert accepts(rules, thought) and not accepts(rules, "3") and not accepts(rules, thought[:-1] + "x")
    assert plain(read([thought], "harmony", "harmony")) == ("hm", "3", [])


@pytest.mark.parametrize(
    "header", [" <|constrain|>json", "<|constrain|>json", ""], ids=["usual", "narrow", "untyped"]
)
def test_harmony_binds_calls_in_every_spelling_of_their_header(header):
    rules = grammar("harmony", required=False, parallel=True)
    for start in ("<|channel|>commentary to=functions.get_weather", "<|start|>assistant<|channel|>commentary "
                  "to=functions.get_weather"):  # fmt: skip
        text = f"{start}{header}<|message|>"
        assert accepts(rules, text + GIVEN) and not accepts(rules, text + GIVEN.replace("3", '"3"'))
