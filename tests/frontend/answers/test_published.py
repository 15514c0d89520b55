"""Answers as the makers of the models show them in their documents and templates, whole and in pieces."""

import json

import pytest

from penstock.frontend.answers.build import make_reader
from tests.frontend.answers.reading import plain, read

DEEPSEEK_V31 = (
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Tokyo"}'
    "<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>"
    '{"city": "New York"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
)
DEEPSEEK_V3 = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    '```json\n{"city": "Tokyo"}\n```<｜tool▁call▁end｜>\n'
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    '```json\n{"city": "New York"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
)
HARMONY = (
    "<|channel|>analysis<|message|>Need to use function get_weather.<|end|><|start|>assistant"
    "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
    '{"city":"San Francisco"}<|call|>'
)
PREAMBLE = (
    "<|channel|>analysis<|message|>long<|end|><|start|>assistant<|channel|>commentary<|message|>"
    "**Action plan**:\n1. Generate an HTML file<|end|><|start|>assistant<|channel|>commentary "
    "to=functions.generate_file<|constrain|>json<|message|>"
    '{"template": "basic_html", "path": "index.html"}<|call|>'
)
QWEN = (
    "I look.\n\n<tool_call>\n<function=write_file>\n<parameter=path>\nsrc/a.py\n</parameter>\n"
    "<parameter=text>\nThis is the value for the second parameter\nthat can span\n"
    'multiple lines, "quotes" and <b>tags</b>\n</parameter>\n<parameter=mode>\n420\n</parameter>\n'
    "<parameter=sync>\nTrue\n</parameter>\n</function>\n</tool_call>"
)
GLM = (
    "<think>I want the weather.</think>\nI will help.<tool_call>get_weather\n<arg_key>city</arg_key>\n"
    "<arg_value>Beijing</arg_value>\n<arg_key>date</arg_key>\n<arg_value>2025-08-01</arg_value>\n</tool_call>\n"
    "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Shanghai</arg_value>\n</tool_call>"
)  # fmt: skip


def tool(name, **properties):
    return {"type": "function", "function": {"name": name, "parameters": {"properties": properties}}}


TEXT = {"type": "string"}
TOOLS = [
    tool("get_weather", city=TEXT, date=TEXT),
    tool("generate_file", template=TEXT, path=TEXT),
    tool("write_file", path=TEXT, text=TEXT, mode={"type": "integer"}, sync={"type": "boolean"}),
]
TOKYO = [("get_weather", {"city": "Tokyo"}), ("get_weather", {"city": "New York"})]
FILE = {"template": "basic_html", "path": "index.html"}
WRITTEN = {
    "path": "src/a.py",
    "text": "This is the value for the second parameter\nthat can span\n"
    'multiple lines, "quotes" and <b>tags</b>',
    "mode": 420,
    "sync": True,
}
WEATHER = [
    ("get_weather", {"city": "Beijing", "date": "2025-08-01"}),
    ("get_weather", {"city": "Shanghai"}),
]

SHOWN = [
    ("deepseek_v3", "none", DEEPSEEK_V3, "", "", TOKYO),
    ("deepseek_v31", "none", DEEPSEEK_V31, "", "", TOKYO),
    ("deepseek_v31", "think", f"hm</think>{DEEPSEEK_V31}", "hm", "", TOKYO),
    ("qwen3_coder", "none", QWEN, "", "I look.", [("write_file", WRITTEN)]),
    ("glm45", "think", GLM, "I want the weather.", "I will help.", WEATHER),
    ("glm47", "think", GLM.replace("\n", ""), "I want the weather.", "I will help.", WEATHER),
    (
        "harmony", "harmony", HARMONY, "Need to use function get_weather.", "",
        [("get_weather", {"city": "San Francisco"})],
    ),
    (
        "harmony", "harmony", PREAMBLE, "long", "**Action plan**:\n1. Generate an HTML file",
        [("generate_file", FILE)],
    ),
    (
        "gpt_oss", "gpt_oss",
        '<|channel|>analysis<|message|>User asks: "What is 2 + 2?" Simple arithmetic.<|end|>'
        "<|start|>assistant<|channel|>final<|message|>2 + 2 = 4.<|return|>",
        'User asks: "What is 2 + 2?" Simple arithmetic.', "2 + 2 = 4.", [],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("parser", "marks", "answer", "reasoning", "text", "calls"), SHOWN)
def test_what_is_shown_is_read(parser, marks, answer, reasoning, text, calls):
    opened = answer.startswith("hm</think>")
    for pieces in ([answer], list(answer), [answer[i : i + 7] for i in range(0, len(answer), 7)]):
        found = plain(read(pieces, parser, marks, opened, tools=TOOLS))
        assert found[:2] == (reasoning, text)
        assert [(name, json.loads(given)) for name, given in found[2]] == calls


def test_harmony_without_tools_or_reasoning_is_text_without_markup():
    answer = SHOWN[-1][2]
    assert plain(read([answer], "harmony", "harmony", tools=[]))[1] == "2 + 2 = 4."
    text = plain(read(list(answer), "harmony", "none", tools=[]))[1]
    assert "Simple arithmetic" in text and text.endswith("2 + 2 = 4.") and "<|" not in text


def test_long_texts_are_passed_on_as_they_come():
    reader = make_reader("qwen3_coder", "none", tools=TOOLS, in_reasoning=False)
    begun = reader.push("<tool_call>\n<function=write_file>\n<parameter=text>\n")
    assert begun[0].name == "write_file"
    assert [event.text for event in reader.push("one\ntwo")] == ["one\\ntwo"]
    assert [event.text for event in reader.push(" three\n</para")] == [" three"]
    assert [event.text for event in reader.push("graph>")] == ["\\n</paragraph>"]


def test_a_call_that_is_cut_off_in_a_value_stays_open():
    for parser, cut in (("qwen3_coder", QWEN[: QWEN.index("tags")]), ("glm45", GLM[: GLM.index("jing")])):
        (call,) = plain(read(list(cut), parser, "none", tools=TOOLS))[2]
        with pytest.raises(json.JSONDecodeError):
            json.loads(call[1])


@pytest.mark.parametrize(
    "rest", ["<|start|>", "<|start|>assistant", "<|start|>user said", "<|start|><|start|>"]
)
def test_a_start_that_begins_no_message_is_text(rest):
    whole = "<|channel|>final<|message|>4<|end|>" + rest
    for pieces in ([whole], list(whole)):
        assert plain(read(pieces, "harmony", "harmony", tools=[]))[1] == "4" + rest
