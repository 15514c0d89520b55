"""Every form of calls: what is read, what is left alone, and that the cut into pieces does not matter."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.frontend.answers.build import (
    TOOL_PARSERS,
    detect_reasoning_parser,
    detect_tool_parser,
    make_reader,
)
from penstock.frontend.answers.events import ToolCallArguments, ToolCallStart
from tests.frontend.answers.reading import TOOLS, nameless, plain, read

ARGS = '{"city": "Köln \\"x\\" }", "n": {"a": [1, 2]}}'

WELL_FORMED = {
    "hermes": [
        f'<tool_call>\n{{"name": "f", "arguments": {ARGS}}}\n</tool_call>',
        f'<tool_call>{{"arguments": {ARGS}, "name": "f"}}</tool_call>',
        f'<tool_call>{{"name": "f", "arguments": {json.dumps(ARGS)}}}</tool_call>',
        f'<tool_call>\n{{"name": "f", "arguments": {ARGS}}}',
    ],
    "llama3_json": [
        f'{{"name": "f", "parameters": {ARGS}}}',
        f'<|python_tag|>{{"name": "f", "parameters": {ARGS}}}',
        f'{{"type": "function", "name": "f", "parameters": {ARGS}}}',
        f'{{"type": "function", "function": {{"name": "f", "parameters": {ARGS}}}}}',
    ],
    "mistral": [
        f'[TOOL_CALLS] [{{"name": "f", "arguments": {ARGS}}}]',
        f'[TOOL_CALLS][{{"name": "f", "arguments": {ARGS}, "id": "abcdefghi"}}]',
        f"[TOOL_CALLS]f[ARGS]{ARGS}",
        f"[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{ARGS}",
        f"[TOOL_CALLS]f {ARGS}",
    ],
    "pythonic": [
        '[f(city="Köln \\"x\\" }", n={"a": [1, 2]})]',
        "[f(city='Köln \"x\" }',n = {'a': (1, 2)})]",
    ],
}


@pytest.mark.parametrize(("parser", "text"), [(p, t) for p, texts in WELL_FORMED.items() for t in texts])
def test_a_call_in_every_spelling(parser, text):
    for pieces in ([text], list(text)):
        reasoning, said, calls = plain(read(pieces, parser))
        assert (reasoning, said, len(calls)) == ("", "", 1)
        assert calls[0][0] == "f" and json.loads(calls[0][1]) == json.loads(ARGS)


SEVERAL = {
    "hermes": 'Sure.\n<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>\n'
    '<tool_call>\n{"name": "search.web", "arguments": {}}\n</tool_call>\n',
    "llama3_json": 'Sure. {"name": "f", "parameters": {"a": 1}}; {"name": "search.web", "parameters": {}}',
    "mistral": 'Sure.[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}, '
    '{"name": "search.web", "arguments": {}}]',
    "mistral_args": 'Sure.[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]search.web[ARGS]{}',
    "pythonic": "Sure. [f(a=1), search.web()]",
}


@pytest.mark.parametrize("parser", SEVERAL)
def test_text_before_and_several_calls(parser):
    _, said, calls = plain(read([SEVERAL[parser]], parser))
    assert said == "Sure." and calls == [("f", '{"a": 1}'), ("search.web", "{}")]


NO_CALLS = {
    "hermes": [
        "a <tool_call> b",
        "<tool_call>\n{nonsense}</tool_call> after",
        '<tool_call>{"name": "unknown", "arguments": {}}',
        '<tool_call>{"name": "f", "arguments": "no object"}</tool_call>',
        "  <tool_cal",
        '<tool_call>{"name": "f"',
        "<tool_call>[1]</tool_call>",
        '<tool_call>{"name": ["f"], "arguments": {}}</tool_call>',
    ],
    "llama3_json": [
        '{"city": "Bonn", "n": 3}',
        "<|python_tag|>print(1)",
        '{"name": "Bonn", "parameters": {}}',
        "a { b } c",
        '{"name": "f"}{',
        '{"name": {"name": 1',
        "{}",
        '{"parameters": 3, "name": "f"}',
    ],
    "mistral": [
        "[TOOL_CALLS]",
        "[TOOL_CALLS] nothing",
        "[TOOL_CALLS] [1, 2]",
        "[TOOL_CALLS]unknown[ARGS]{}",
        '[TOOL_CALLS] [{"name": "unknown", "arguments": {}}]',
        "[TOOL_CALLS]f[ARGS]no",
        "[TOOL_CALLS][",
    ],
    "pythonic": ["[1, 2]", "[text](link)", "[unknown(a=1)]", "[f", "[f(1)]", "x[f]", "[f()"[:3], "a [ b"],
}


@pytest.mark.parametrize(("parser", "text"), [(p, t) for p, texts in NO_CALLS.items() for t in texts])
def test_what_is_no_call_stays_text_to_the_last_character(parser, text):
    for pieces in ([text], list(text)):
        reasoning, said, calls = plain(read(pieces, parser))
        if text == '{"name": "f"}{':  # a call without arguments, and a brace
            assert (said, calls) == ("{", [("f", "{}")])
        else:
            assert (reasoning, said, calls) == ("", text, [])


MARKS = [
    "<tool_call>",
    "</tool_call>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    '{"name": "f", "arguments": ',
    '{"name": "f", "parameters": ',
    '{"name": "nobody", "parameters": {',
    '"',
    "'",
    "\\",
    "f",
    "f(",
    "get_weather",
    "a=1",
    ", ",
    "=",
    ";",
    "\n",
    "  ",
    "text",
    "<think>",
    "</think>",
    "1",
    '{"a": 1}',
    "é",
    "\ud800",
    "\x01",
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(TOOL_PARSERS)), st.lists(st.sampled_from(MARKS), max_size=16), st.data())
def test_the_cut_into_pieces_does_not_matter(parser, marks, data):
    text = "".join(marks)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    in_reasoning = data.draw(st.booleans())
    whole = nameless(read([text], parser, "think", in_reasoning))
    assert nameless(read(pieces, parser, "think", in_reasoning)) == whole
    assert nameless(read(list(text), parser, "think", in_reasoning)) == whole


@pytest.mark.parametrize("parser", ["hermes", "llama3_json", "mistral"])
def test_arguments_are_passed_on_as_they_come(parser):
    text = WELL_FORMED[parser][0]
    reader = make_reader(parser, "none", tools=TOOLS, in_reasoning=False)
    seen, started = "", None
    for at, char in enumerate(text):
        for event in reader.push(char):
            started = at if isinstance(event, ToolCallStart) else started
            if isinstance(event, ToolCallArguments):
                seen += event.text
        if started is not None and len(seen) < len(ARGS):
            assert len(seen) == at - started + 1  # nothing is held back once the arguments have begun
    assert seen == ARGS


def test_pythonic_arguments_come_one_by_one():
    reader = make_reader("pythonic", "none", tools=TOOLS, in_reasoning=False)
    events = [e for e in reader.push("[f(a=1, b='x', c=") if isinstance(e, ToolCallArguments)]
    assert "".join(e.text for e in events) == '{"a": 1, "b": "x"'


def test_values_of_python_that_json_has_not():
    text = "[f(a=True, b=None, c=-1.5, d=[true, {'k': null}], e=undefined, g=1e999, h={1: 2})]"
    _, _, calls = plain(read([text], "pythonic"))
    assert json.loads(calls[0][1]) == {
        "a": True, "b": None, "c": -1.5, "d": [True, {"k": None}], "e": "undefined", "g": "1e999",
        "h": {"1": 2},
    }  # fmt: skip


def test_an_answer_cut_off_in_a_call_keeps_what_was_there():
    _, said, calls = plain(read(['<tool_call>{"name": "f", "arguments": {"a": [1, '], "hermes"))
    assert said == "" and calls == [("f", '{"a": [1, ')]


def test_control_characters_in_strings_are_escaped():
    for text in (
        '<tool_call>{"name": "f", "arguments": {\n"a": "x\ny\x1e\\n"}}</tool_call>',
        '<tool_call>{"arguments": {\n"a": "x\ny\x1e\\n"}, "name": "f"}</tool_call>',
    ):
        for pieces in ([text], list(text)):
            _, _, calls = plain(read(pieces, "hermes"))
            assert json.loads(calls[0][1]) == {"a": "x\ny\x1e\n"}


def test_ids_differ_and_have_the_form_that_the_template_takes_back():
    ids = [e.id for e in read([SEVERAL["hermes"]], "hermes") if isinstance(e, ToolCallStart)]
    assert len(set(ids)) == 2 and all(one.startswith("call_") for one in ids)
    ids = [e.id for e in read([SEVERAL["mistral"]], "mistral") if isinstance(e, ToolCallStart)]
    assert len(set(ids)) == 2 and all(len(one) == 9 and one.isalnum() for one in ids)
    text = "[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{}"
    assert [e.id for e in read([text], "mistral") if isinstance(e, ToolCallStart)] == ["abcdefghi"]


def test_without_tools_everything_is_text():
    text = WELL_FORMED["hermes"][0]
    assert plain(read([text], "hermes", tools=[])) == ("", text, [])
    assert plain(read([text], "none")) == ("", text, [])


@pytest.mark.parametrize(
    ("text", "in_reasoning", "expected"),
    [
        ("<think>\nhm\n</think>\n\nHi", False, ("hm", "Hi")),
        ("hm\n</think>\n\nHi", True, ("hm", "Hi")),
        ("<think>hm</think>Hi", True, ("hm", "Hi")),
        ("\n<think>\n\n</think>\n\nHi ", False, ("", "Hi ")),
        ("Hi </think>", False, ("", "Hi </think>")),
        ("  Hi <think>", False, ("", "  Hi <think>")),
        ("<think>cut off \n", False, ("cut off", "")),
        ("<thin", False, ("", "<thin")),
        ("<thin", True, ("<thin", "")),
        ("a </thi b </think> c", True, ("a </thi b", "c")),
    ],
)
def test_reasoning(text, in_reasoning, expected):
    for pieces in ([text], list(text)):
        reasoning, said, calls = plain(read(pieces, "hermes", "think", in_reasoning))
        assert (reasoning, said) == expected and calls == []


def test_a_call_after_reasoning():
    text = 'I must not <tool_call> here.</think>\n<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    expected = ("I must not <tool_call> here.", "", [("f", "{}")])
    assert plain(read(list(text), "hermes", "deepseek_r1", True)) == expected


def test_detection_from_the_template():
    assert detect_tool_parser("{{ '<tool_call>' }}") == "hermes"
    assert detect_tool_parser("{{ '[TOOL_CALLS]' }}") == "mistral"
    assert detect_tool_parser("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}") == "mistral_args"
    assert detect_tool_parser("<|python_tag|>") == "llama3_json"
    assert detect_tool_parser("{{ messages }}") == "hermes"
    assert detect_reasoning_parser("x </think> y") == "think"
    assert detect_reasoning_parser("[THINK] [/THINK]") == "mistral"
    assert detect_reasoning_parser("plain") == "none"
