"""Tools in conversations: the template, the training text and the server's parser agree."""

import json
from typing import Any

import pytest
from transformers import AutoTokenizer

from penstock.frontend.answers.build import detect_reasoning_parser, detect_tool_parser, make_reader
from penstock.frontend.prompts import Chat
from penstock.frontend.text.chat import render
from penstock.zoo import bundled_model_path
from penstock.zoo.data.toolform import call_text, calls_of, tools_text
from penstock.zoo.tokenizer import CHAT_TEMPLATE, encode_conversation
from tests.frontend.answers.reading import plain

TOKENIZER = AutoTokenizer.from_pretrained(bundled_model_path())

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": " The weather of a city ",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["c", "f"]},
                "days": {"type": ["integer", "null"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "other": {"type": "array"},
                "free": {},
                "all": True,
            },
            "required": ["city", "days"],
        },
    },
}
BARE = {"name": "now", "parameters": None}
TOOLS: Any = [WEATHER, BARE]
OFFER = (
    "You can call these tools:\n"
    '{"name": "get_weather", "description": "The weather of a city", "parameters": {"city": "string", '
    '"unit": "c|f?", "days": "integer|null", "tags": "string[]?", "other": "array?", "free": "any?", '
    '"all": "any?"}}\n'
    '{"name": "now", "parameters": {}}'
)


def _call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": name, "arguments": arguments}}


ROUND: list[dict[str, Any]] = [
    {"role": "user", "content": "Is it warm in Zürich?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [_call("get_weather", {"city": 'Z"ür<ich'}), _call("now", "{}")],
    },
    {"role": "tool", "tool_call_id": "get_weather", "content": '{"sky": "rainy"}'},
    {"role": "tool", "tool_call_id": "now", "content": "12:30"},
    {"role": "assistant", "content": " Just rain. ", "tool_calls": [_call("now", None)]},
    {"role": "tool", "content": "12:31"},
    {"role": "assistant", "content": "It is late."},
]
SYSTEM = {"role": "system", "content": "Be brief."}
DIALOGUES = [ROUND, [SYSTEM, *ROUND], ROUND[:1], ROUND[:4], [{"role": "system", "content": ""}, *ROUND[:1]]]


@pytest.mark.parametrize("tools", [None, [], TOOLS])
@pytest.mark.parametrize("messages", DIALOGUES)
def test_training_text_with_tools_is_exactly_the_chat_template(messages: list[Any], tools: Any) -> None:
    ids, mine = encode_conversation(TOKENIZER, messages, tools)
    template = TOKENIZER.apply_chat_template(
        messages, tools=tools, chat_template=CHAT_TEMPLATE, tokenize=True, return_dict=False
    )
    assert ids == list(template) and len(mine) == len(ids)


def test_the_text_of_a_round() -> None:
    text = TOKENIZER.apply_chat_template(
        [SYSTEM, *ROUND], tools=TOOLS, tokenize=False, add_generation_prompt=True
    )
    assert text == (
        f"<|bos|><|system|>Be brief.\n\n{OFFER}<|end|><|user|>Is it warm in Zürich?<|end|><|assistant|>"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Z\\"ür<ich"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|end|>'
        '<|tool|>{"sky": "rainy"}\n12:30<|end|>'
        '<|assistant|>Just rain.\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|end|>'
        "<|tool|>12:31<|end|><|assistant|>It is late.<|end|><|assistant|>"
    )
    assert tools_text(TOOLS) == OFFER


def test_the_shipped_template_is_the_one_of_the_trainer() -> None:
    assert TOKENIZER.chat_template == CHAT_TEMPLATE


def test_the_server_reads_what_the_template_writes() -> None:
    assert detect_tool_parser(CHAT_TEMPLATE) == "hermes" and detect_reasoning_parser(CHAT_TEMPLATE) == "none"
    functions = [tool if "function" in tool else {"type": "function", "function": tool} for tool in TOOLS]
    messages = [{**m, "content": m.get("content")} for m in ROUND[:2]]
    messages[1]["tool_calls"] = [_call("get_weather", '{"city":"Bonn"}'), _call("now", "{}")]
    text = render(TOKENIZER, Chat(messages=messages, tools=functions, add_generation_prompt=False), None)
    answer = text.split("<|assistant|>")[1].removesuffix("<|end|>")
    for size in (1, 3, len(answer)):
        reader = make_reader("hermes", "none", tools=functions, in_reasoning=False)
        events = [
            event for i in range(0, len(answer), size) for event in reader.push(answer[i : i + size])
        ] + reader.finish()
        said, _, calls = plain(events)  # type: ignore[no-untyped-call]
        assert said.strip() == ""
        assert [(name, json.loads(given)) for name, given in calls] == [
            ("get_weather", {"city": "Bonn"}),
            ("now", {}),
        ]
    assert calls_of(answer) == [("get_weather", {"city": "Bonn"}), ("now", {})]


def test_broken_calls_are_told_from_none() -> None:
    assert calls_of("Hello.") == []
    whole = call_text("f", {"a": 1})
    assert calls_of(f"Well.\n{whole}") == [("f", {"a": 1})]
    for broken in (
        whole[:-3],
        whole.replace("}", "", 1),
        "<tool_call>[]</tool_call>",
        whole.replace("name", "n"),
    ):
        assert calls_of(broken) is None
