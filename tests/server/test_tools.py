"""Tools and reasoning of /v1/chat/completions against a scripted engine."""

import json

import pytest

from penstock.core.request import GrammarSpec
from penstock.server.tools import parsers_of
from tests.server.conftest import events
from tests.server.fakes import CONFIG

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
NOW = {"type": "function", "function": {"name": "now"}}
TOOLS = [WEATHER, NOW]
TWO = (
    'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
)


def joined(chunks, index=0):
    """Return the message that a stream's deltas add up to, and its finish reason."""
    message, reason = {"content": "", "reasoning_content": "", "tool_calls": []}, None
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            message["content"] += delta.get("content", "")
            message["reasoning_content"] += delta.get("reasoning_content", "")
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(message["tool_calls"]):
                    assert call["type"] == "function" and call["id"] and "name" in call["function"]
                    message["tool_calls"].append({**call, "function": dict(call["function"])})
                else:
                    assert set(call) == {"index", "function"} and set(call["function"]) == {"arguments"}
                    message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"][
                        "arguments"
                    ]
            reason = choice["finish_reason"] or reason
    return message, reason


def test_whole_answer_with_calls(post, engine):
    engine.text = TWO
    choice = post(CHAT, {"messages": HI, "tools": TOOLS}).json()["choices"][0]
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls" and message["content"] == "Let me see."
    first, second = message["tool_calls"]
    assert first["type"] == "function" and first["id"].startswith("call_") and first["id"] != second["id"]
    assert first["function"] == {"name": "get_weather", "arguments": '{"city": "Köln"}'}
    assert second["function"] == {"name": "now", "arguments": "{}"}
    prompt, _, _ = engine.asked[0]
    assert (
        prompt.tools[0]["function"]["name"] == "get_weather" and "strict" not in prompt.tools[0]["function"]
    )


def test_calls_alone_have_no_content(post, engine):
    engine.text = TWO.partition("\n")[2]
    message = post(CHAT, {"messages": HI, "tools": TOOLS}).json()["choices"][0]["message"]
    assert message["content"] is None and len(message["tool_calls"]) == 2


@pytest.mark.parametrize("stride", [1, 3, 1000])
def test_streamed_calls_add_up_to_the_whole(post, engine, stride):
    engine.text, engine.stride = TWO, stride
    chunks = events(post(CHAT, {"messages": HI, "tools": TOOLS, "stream": True, "n": 2}))
    for index in (0, 1):
        message, reason = joined(chunks, index)
        assert reason == "tool_calls" and message["content"] == "Let me see."
        assert [call["function"] for call in message["tool_calls"]] == [
            {"name": "get_weather", "arguments": '{"city": "Köln"}'},
            {"name": "now", "arguments": "{}"},
        ]
    if stride == 1:  # arguments are passed on as they come
        pieces = [
            c for chunk in chunks for c in chunk["choices"] if c["index"] == 0 and "tool_calls" in c["delta"]
        ]
        assert len(pieces) > 10


def test_an_answer_that_is_cut_off_says_so(post, engine):
    engine.text = TWO
    choice = post(CHAT, {"messages": HI, "tools": TOOLS, "max_tokens": 75}).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"].startswith('{"ci')


def test_without_tools_or_with_none_markup_is_text(post, engine):
    engine.text = TWO
    for body in ({}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}):
        choice = post(CHAT, {"messages": HI, **body}).json()["choices"][0]
        assert choice["message"]["content"] == TWO and choice["finish_reason"] == "stop"
    assert all(prompt.tools is None for prompt, _, _ in engine.asked)
    assert all(options.grammar is None for _, _, options in engine.asked)


def test_logprobs_are_those_of_all_tokens(post, engine):
    engine.text, engine.stride = TWO, 5
    body = {"messages": HI, "tools": TOOLS, "logprobs": True, "stream": True}
    chunks = events(post(CHAT, body))
    scored = [entry["token"] for chunk in chunks for entry in chunk["choices"][0]["logprobs"]["content"]]
    assert "".join(scored) == TWO


def grammar_of(post, engine, **body):
    engine.asked.clear()
    reply = post(CHAT, {"messages": HI, "tools": TOOLS, **body})
    assert reply.status_code == 200, reply.text
    return engine.asked[0][2].grammar


def test_choice_becomes_a_constraint_in_the_form_of_the_parser(post, engine):
    auto = grammar_of(post, engine)
    assert auto.kind == "structural_tag" and json.loads(auto.text)["format"]["type"] == "dispatch"
    assert grammar_of(post, engine, tool_choice="auto") == auto
    required = grammar_of(post, engine, tool_choice="required")
    assert json.loads(required.text)["format"]["type"] == "sequence" and '"star"' in required.text
    one = grammar_of(post, engine, tool_choice="required", parallel_tool_calls=False)
    assert '"star"' not in one.text and "get_weather" in one.text and "now" in one.text
    named = grammar_of(post, engine, tool_choice={"type": "function", "function": {"name": "now"}})
    assert "get_weather" not in named.text and "now" in named.text and '"star"' not in named.text
    engine.tokenizer.template_text += "This model only supports single tool-calls at once!"
    assert grammar_of(post, engine, tool_choice="required") == one
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    assert "get_weather" not in grammar_of(post, engine, tool_choice=choice).text
    assert len(engine.asked[0][0].tools) == 2  # the prompt stays as it is


def test_a_name_that_is_not_listed_is_refused(post):
    for choice in (
        {"type": "function", "function": {"name": "nobody"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
            {"type": "function", "function": {"name": "nobody"}}]}},
    ):  # fmt: skip
        reply = post(CHAT, {"messages": HI, "tools": TOOLS, "tool_choice": choice})
        assert reply.status_code == 400 and reply.json()["error"]["param"] == "tool_choice"
        assert "nobody" in reply.json()["error"]["message"]


def test_calls_of_earlier_turns_reach_the_template(post, engine):
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "reasoning": "hm"},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "noon"}]},
    ]
    assert post(CHAT, {"messages": messages, "tools": TOOLS}).status_code == 200
    _, assistant, tool = engine.asked[0][0].messages
    assert assistant == {"role": "assistant", "content": "", "tool_calls": [call], "reasoning_content": "hm"}
    assert tool == {"role": "tool", "tool_call_id": "call_1", "content": "noon"}


@pytest.fixture
def thinking(engine):
    engine.tokenizer.template_text = "{{ tools }} <tool_call> <think> </think>"
    engine.text = "<think>\nhm, hm\n</think>\n\nHello"
    return engine


def test_reasoning_is_told_apart(post, thinking):
    body = post(CHAT, {"messages": HI}).json()
    message = body["choices"][0]["message"]
    assert message["content"] == "Hello" and message["reasoning_content"] == message["reasoning"] == "hm, hm"
    thought = len("<think>\nhm, hm\n</think>")
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": thought}
    assert thinking.asked[0][1]["shown_special_tokens"] == ("<think>", "</think>")


@pytest.mark.parametrize("stride", [1, 4, 100])
def test_streamed_reasoning(post, thinking, stride):
    thinking.stride = stride
    body = {"messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = events(post(CHAT, body))
    message, reason = joined(chunks)
    assert (message["reasoning_content"], message["content"], reason) == ("hm, hm", "Hello", "stop")
    assert last["usage"]["completion_tokens_details"]["reasoning_tokens"] == len("<think>\nhm, hm\n</think>")


def test_reasoning_that_the_template_has_opened(post, thinking):
    thinking.tokenizer.ending = "<think>\n"
    thinking.text = "hm, hm\n</think>\n\nHello"
    body = post(CHAT, {"messages": HI}).json()
    assert body["choices"][0]["message"]["reasoning_content"] == "hm, hm"
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == len("hm, hm\n</think>")
    cut = post(CHAT, {"messages": HI, "max_tokens": 4}).json()["choices"][0]
    assert cut["message"]["content"] is None and cut["message"]["reasoning"] == "hm,"
    assert cut["finish_reason"] == "length"


def test_how_reasoning_is_sent(post, thinking):
    thinking.stride = 2
    hidden = post(CHAT, {"messages": HI, "include_reasoning": False}).json()["choices"][0]["message"]
    assert "reasoning" not in hidden and hidden["content"] == "Hello"
    mixed = post(CHAT, {"messages": HI, "separate_reasoning": False}).json()["choices"][0]["message"]
    assert mixed["content"] == thinking.text and "reasoning" not in mixed
    chunks = events(post(CHAT, {"messages": HI, "stream_reasoning": False, "stream": True}))
    pieces = [
        c["choices"][0]["delta"]["reasoning"] for c in chunks if "reasoning" in c["choices"][0]["delta"]
    ]
    assert pieces == ["hm, hm"]
    hidden = events(post(CHAT, {"messages": HI, "include_reasoning": False, "stream": True}))
    assert joined(hidden)[0] == {"content": "Hello", "reasoning_content": "", "tool_calls": []}


def test_effort_and_thinking_reach_the_template(post, engine):
    body = {"messages": HI, "reasoning_effort": "none", "chat_template_kwargs": {"x": 1}}
    assert post(CHAT, body).status_code == 200
    expected = {"reasoning_effort": "none", "enable_thinking": False, "x": 1}
    assert engine.asked[0][0].template_kwargs == expected


def test_the_constraint_begins_after_the_reasoning(post, thinking):
    maybe = grammar_of(post, thinking, tool_choice="required")
    assert maybe.after == "" and json.loads(maybe.text)["format"]["type"] == "or"
    thinking.tokenizer.ending = "<think>"
    opened = grammar_of(post, thinking, tool_choice="required")
    assert opened.after == "</think>" and json.loads(opened.text)["format"]["type"] == "sequence"
    thinking.tokenizer.ending = "<think>\n\n</think>\n\n"
    closed = grammar_of(post, thinking, tool_choice="required")
    assert closed.after == "" and closed.text == opened.text


def test_a_budget_of_reasoning(post, thinking):
    for ending, kind in (("<think>\n", "sequence"), ("", "or")):
        thinking.tokenizer.ending = ending
        spec = grammar_of(post, thinking, thinking_token_budget=7, tools=None)
        assert spec.after == "" and '"max_tokens": 7' in spec.text
        assert json.loads(spec.text)["format"]["type"] == kind
    thinking.tokenizer.ending = "<think></think>"
    assert grammar_of(post, thinking, thinking_token_budget=7, tools=None) is None


def test_parsers_are_named_or_read_from_the_template():
    assert parsers_of(CONFIG.server, "[TOOL_CALLS] [/THINK]").tools == "mistral"
    assert parsers_of(CONFIG.server, "[TOOL_CALLS] [/THINK]").reasoning == "mistral"
    assert parsers_of(CONFIG.server, "").reasoning == "none"


def test_settings_name_every_parser():
    from typing import get_args, get_type_hints

    from penstock.config.settings import ServerConfig
    from penstock.frontend.answers import build

    hints = get_type_hints(ServerConfig)
    calls, reasoning = (
        {*build.TOOL_PARSERS, *build.TOOL_ALIASES},
        {*build.REASONING_PARSERS, *build.REASONING_ALIASES},
    )
    assert set(get_args(hints["tool_call_parser"])) == {"auto", "none", *calls}
    assert set(get_args(hints["reasoning_parser"])) == {"auto", "none", *reasoning}


def test_what_clients_send_by_default_is_taken(post):
    extras = {
        "service_tier": "auto", "store": False, "metadata": {"a": "b"}, "user": "me",
        "safety_identifier": "x",
        "prompt_cache_key": "k", "verbosity": "low", "modalities": ["text"], "prediction": None,
        "parallel_tool_calls": True, "n": 1, "logit_bias": {}, "function_call": None, "functions": None,
        "extra_body": {}, "web_search_options": None, "audio": None, "tool_choice": "auto",
    }  # fmt: skip
    reply = post(CHAT, {"messages": HI, **extras})
    assert reply.status_code == 200, reply.text


def test_a_grammar_that_cannot_be_used_refuses_only_what_asked_for_it(post, engine):
    engine.text, engine.no_grammars = TWO, True
    loose = {"messages": HI, "tools": [NOW]}
    choice = post(CHAT, loose).json()["choices"][0]
    assert choice["message"]["tool_calls"] and engine.asked[0][2].grammar is None
    for more in ({"tool_choice": "required"}, {"tools": TOOLS}, {"response_format": {"type": "json_object"}}):
        reply = post(CHAT, {**loose, **more})
        assert reply.status_code == 400 and reply.json()["error"]["param"] == "tools", reply.text


def test_a_strict_schema_must_be_one_that_grammars_can_say(post):
    function = {"name": "f", "parameters": {"type": "object", "not": {}}}
    ask = {"messages": HI, "tools": [{"type": "function", "function": function}]}
    assert post(CHAT, ask).status_code == 200
    function["strict"] = True
    error = post(CHAT, ask).json()["error"]
    assert error["param"] == "tools[0].function.parameters" and "'not'" in error["message"]


def test_tools_and_a_format_make_either_calls_or_the_format(post, engine):
    form = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}},
    }
    either = json.loads(grammar_of(post, engine, response_format=form).text)["format"]
    assert either["type"] == "or" and either["elements"][1]["type"] == "json_schema"
    required = grammar_of(post, engine, response_format=form, tool_choice="required")
    assert required == grammar_of(post, engine, tool_choice="required")
    assert grammar_of(post, engine, response_format=form, tool_choice="none").kind == "json_schema"


def test_the_constraint_type_is_the_cores(post, engine):
    assert isinstance(grammar_of(post, engine), GrammarSpec)
