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

QWEN = '<parameter=city>\nKöln "x" }\n</parameter>\n<parameter=n>\n{"a": [1, 2]}\n</parameter>\n'
GLM = (
    '<arg_key>city</arg_key>\n<arg_value>Köln "x" }</arg_value>\n'
    '<arg_key>n</arg_key>\n<arg_value>{"a": [1, 2]}</arg_value>\n'
)
DS_CALLS, DS_CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
DS_CALL, DS_END, DS_SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"

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
    "qwen3_coder": [
        f"<tool_call>\n<function=f>\n{QWEN}</function>\n</tool_call>",
        f"<tool_call><function=f>{QWEN}</function></tool_call>",
        f"<function=f>\n{QWEN}</function>\n</tool_call>",
        f"<tool_call>\n<function=f>\n{QWEN}</tool_call>",
        f"<tool_call>\n<function=f>\n{QWEN}",
    ],
    "glm45": [
        f"<tool_call>f\n{GLM}</tool_call>",
        "<tool_call>f" + GLM.replace("\n", "") + "</tool_call>",
        f"<tool_call>\nf\n{GLM}",
    ],
    "deepseek_v3": [
        f"{DS_CALLS}{DS_CALL}function{DS_SEP}f\n```json\n{ARGS}\n```{DS_END}{DS_CALLS_END}",
        f"{DS_CALL}function{DS_SEP}f\n```json\n{ARGS}\n```{DS_END}",
        f"{DS_CALLS}{DS_CALL}f{DS_SEP}{ARGS}{DS_END}{DS_CALLS_END}",
        f"{DS_CALLS}\n{DS_CALL}f{DS_SEP}{ARGS}",
    ],
    "harmony": [
        f"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{ARGS}<|call|>",
        f"<|channel|>commentary to=functions.f<|constrain|>json<|message|>{ARGS}",
        f" to=functions.f<|channel|>commentary json<|message|>{ARGS}<|end|>",
        f"<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{ARGS}<|call|>",
        f"<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|> {ARGS}",
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
    "qwen3_coder": "Sure.\n<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n"
    "</tool_call>\n<tool_call>\n<function=search.web>\n</function>\n</tool_call>",
    "glm45": "Sure.\n<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>\n"
    "<tool_call>search.web\n</tool_call>",
    "deepseek_v3": f"Sure.{DS_CALLS}{DS_CALL}function{DS_SEP}f\n```json\n"
    f'{{"a": 1}}\n```{DS_END}\n{DS_CALL}function{DS_SEP}search.web\n```json\n{{}}\n```{DS_END}{DS_CALLS_END}',
    "deepseek_v31": f'Sure.{DS_CALLS}{DS_CALL}f{DS_SEP}{{"a": 1}}{DS_END}'
    f"{DS_CALL}search.web{DS_SEP}{{}}{DS_END}{DS_CALLS_END}",
    "harmony": "<|channel|>final<|message|>Sure.<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|><|start|>assistant<|channel|>commentary '
    "to=functions.search.web<|message|>{}<|call|>",
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
    "qwen3_coder": [
        "<tool_call>\n<function=unknown>\n</function>\n</tool_call>",
        "a <function= b",
        "<tool_call> text",
        "<tool_call>\n<function=f",
        "<tool_call>\n<function",
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
    ],
    "glm45": [
        "<tool_call>unknown\n</tool_call>",
        "<tool_call>f",
        "<tool_call>f g\n</tool_call>",
        "<tool_call>",
        "<arg_key>f</arg_key>",
    ],
    "deepseek_v3": [
        DS_CALLS,
        f"{DS_CALLS} text",
        f"{DS_CALLS}{DS_CALL}function{DS_SEP}unknown\n```json\n{{}}\n```{DS_END}{DS_CALLS_END}",
        f"{DS_CALL}f{DS_SEP}[1]{DS_END}",
        f"{DS_CALL}f{DS_SEP}",
        f"{DS_CALL}function{DS_SEP}f\n```python\n1\n```",
        f"{DS_CALL}function f",
    ],
    "harmony": [
        "<|channel|>",
        "<|channel|>commentary to=functions.unknown<|message|>{}",
        "<|channel|>commentary to=functions.f<|message|>no",
        "<|channel|>commentary to=functions.f<|message|>",
        "plain",
        "  to be or not",
        "assist",
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
    "<function=f>",
    "</function>",
    "<parameter=city>",
    "</parameter>",
    "<parameter=x>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    DS_CALLS,
    DS_CALL,
    DS_SEP,
    DS_END,
    DS_CALLS_END,
    "function",
    "```json\n",
    "```",
    "<|start|>",
    "assistant",
    "<|channel|>final",
    "<|channel|>analysis",
    "<|channel|>commentary",
    " to=functions.f ",
    "<|constrain|>json",
    "<|message|>",
    "<|end|>",
    "<|call|>",
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
    marks = data.draw(st.sampled_from(["think", "harmony", "none"]))
    whole = nameless(read([text], parser, marks, in_reasoning))
    assert nameless(read(pieces, parser, marks, in_reasoning)) == whole
    assert nameless(read(list(text), parser, marks, in_reasoning)) == whole


@pytest.mark.parametrize("parser", ["hermes", "llama3_json", "mistral", "deepseek_v3", "harmony"])
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
    assert detect_tool_parser("<tool_call>\n<function=x>\n<parameter=y>") == "qwen3_coder"
    assert detect_tool_parser("<tool_call>{name}<arg_key>") == "glm45"
    assert detect_tool_parser(f"{{% for t in tools %}} {DS_CALLS} ```json") == "deepseek_v3"
    assert detect_tool_parser(f"{{% if tools %}} {DS_CALLS} </think>") == "deepseek_v31"
    assert detect_tool_parser(f"{DS_CALLS} message['tool_calls'] ```json") == "hermes", "we tell of the tools"
    assert detect_tool_parser("<|start|>assistant<|channel|>analysis") == "harmony"
    assert detect_reasoning_parser("<|channel|>analysis<|message|>") == "harmony"
    assert detect_reasoning_parser("x </think> y") == "think"
    assert detect_reasoning_parser("[THINK] [/THINK]") == "mistral"
    assert detect_reasoning_parser("plain") == "none"
    assert detect_reasoning_parser("<|user|>{{ m.content }}<|end|><|assistant|>") == "none"
