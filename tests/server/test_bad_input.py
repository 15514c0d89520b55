"""Every refusal: its status, the field that it names, and OpenAI's error shape."""

import json
import re

import msgspec
import pytest

from penstock.core.errors import InvalidRequest, Overloaded
from tests.server.fakes import CONFIG

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "hi"}]


def error(reply, status, param=None, code=None):
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["param"] == param, body
    if code:
        assert body["error"]["code"] == code, body
    assert "Traceback" not in reply.text and "penstock/" not in reply.text
    return body["error"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"messages": [}', "invalid_json"),
        (b"not json", "invalid_json"),
        (b'{"prompt": "\xff\xfe"}', "invalid_utf8"),
        (b'{"prompt": "\\ud800"}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"unknown": ' + b"[" * 5000 + b"]" * 5000 + b"}", "invalid_json"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, TEXT, "/tokenize", "/detokenize"])
def test_malformed_json(call, path, raw, code):
    error(call("POST", path, content=raw), 400, None, code)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 10**6}, "n"),
        ({"stop": [1]}, "stop[0]"),
        ({"stop": [""]}, "stop[0]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"seed": 2**63}, "seed"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a"}}] * 2}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "a"}}}, "tool_choice"),
        ({"functions": [{"name": "a"}]}, "functions"),
        ({"thinking_token_budget": 5}, "thinking_token_budget"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"top_k": 1.5}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 5e-324}, "repetition_penalty"),
        ({"weight": 5e-324}, "weight"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids[0]"),
        ({"allowed_token_ids": []}, "allowed_token_ids"),
        ({"bad_words": [""]}, "bad_words[0]"),
        ({"priority": "high"}, "priority"),
        ({"tenant": "a b"}, "tenant"),
        ({"slo": {"ttft_ms": -1}}, "slo.ttft_ms"),
        ({"slo": 3}, "slo"),
        ({"turn": {"index": 1}}, "turn"),
        ({"program": "p", "turn": {"index": -1}}, "turn.index"),
        ({"program": "p", "turn": {"tool": ""}}, "turn.tool"),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
        ({"user": 5}, "user"),
    ],
)
def test_wrong_fields_are_named(post, engine, change, param):
    error(post(CHAT, {"messages": HI, **change}), 400, param)
    assert engine.asked == []


def test_numbers_that_json_does_not_have(call):
    for raw in (b"NaN", b"Infinity", b"1e999"):
        body = b'{"messages": [{"role": "user", "content": "x"}], "temperature": ' + raw + b"}"
        error(call("POST", CHAT, content=body), 400, "temperature")


@pytest.mark.parametrize(
    ("prompt", "param"),
    [(5, "prompt"), ([], "prompt"), ([1, "a"], "prompt[1]"), ([-1], "prompt[0]"), ([[1], []], "prompt[1]")],
)
def test_wrong_prompts_are_named(post, prompt, param):
    error(post(TEXT, {"prompt": prompt}), 400, param)


def test_missing_and_null_prompts(post):
    error(post(TEXT, {}), 400, "prompt", "missing_required_parameter")
    error(post(CHAT, {}), 400, "messages", "missing_required_parameter")


def test_unknown_fields_are_ignored_as_openai_does(post):
    body = {"messages": HI, "frobnicate": {"a": [1]}, "metadata": {"k": "v"}, "parallel_tool_calls": True}
    assert post(CHAT, body).status_code == 200


def test_unknown_model(post, call):
    error(post(CHAT, {"model": "gpt-9", "messages": HI}), 404, "model", "model_not_found")
    error(post(TEXT, {"model": "gpt-9", "prompt": "x"}), 404, "model", "model_not_found")
    error(call("GET", "/v1/models/gpt-9"), 404, "model", "model_not_found")


def test_unknown_route_and_wrong_method(call):
    error(call("GET", "/v1/nothing"), 404, None, "not_found")
    reply = call("GET", CHAT)
    error(reply, 405, None, "method_not_allowed")
    assert reply.headers["allow"] == "POST"


class TestSmallBodies:
    @pytest.fixture
    def config(self):
        return msgspec.structs.replace(
            CONFIG, server=msgspec.structs.replace(CONFIG.server, max_body_bytes=1024)
        )

    def test_declared_length(self, post):
        error(post(TEXT, {"prompt": "x" * 2000}), 413, None, "request_too_large")

    def test_chunked_length(self, call):
        async def parts():
            for _ in range(20):
                yield b"x" * 100

        error(call("POST", TEXT, content=parts()), 413, None, "request_too_large")


class TestKeys:
    @pytest.fixture
    def config(self):
        return msgspec.structs.replace(
            CONFIG, server=msgspec.structs.replace(CONFIG.server, api_key=("one", "zwei"))
        )

    def test_without_or_with_a_wrong_key(self, post, call):
        reply = post(TEXT, {"prompt": "x"})
        error(reply, 401, None, "invalid_api_key")
        assert reply.headers["www-authenticate"] == "Bearer" and reply.headers["x-request-id"]
        for value in ("Bearer nope", "Basic one", "Bearer", "Bearer one two", "Bearer \u00fc"):
            headers = {"Authorization": value.encode()}
            error(post(TEXT, {"prompt": "x"}, headers=headers), 401, None, "invalid_api_key")
        error(call("GET", "/v1/models"), 401)

    def test_with_a_key_and_on_probes(self, post, call):
        for key in ("one", "zwei"):
            reply = post(TEXT, {"prompt": "x"}, headers={"Authorization": f"Bearer {key}"})
            assert reply.status_code == 200
        assert all(
            call("GET", path).status_code == 200 for path in ("/health", "/live", "/ready", "/metrics")
        )


def test_overload_says_when_to_come_back(post, engine):
    engine.refusal = Overloaded("4096 requests wait already", 2.2)
    reply = post(CHAT, {"messages": HI})
    error(reply, 503, None, "overloaded")
    assert reply.headers["retry-after"] == "3"
    reply = post(CHAT, {"messages": HI, "stream": True})
    error(reply, 503, None, "overloaded")


def test_the_engines_own_refusals_name_the_field(post, engine):
    engine.refusal = InvalidRequest("sampling.top_p", "must be in (0, 1]")
    error(post(CHAT, {"messages": HI}), 400, "top_p")


def test_a_dead_engine_tells_the_true_cause(post, call, engine):
    engine.state, engine.cause = "dead", "the engine ran out of memory while loading"
    reply = post(CHAT, {"messages": HI})
    assert "ran out of memory" in error(reply, 503, None, "engine_dead")["message"]
    assert call("GET", "/health").status_code == 503
    assert "ran out of memory" in call("GET", "/health").text
    assert call("GET", "/live").status_code == 200 and call("GET", "/metrics").status_code == 200


def test_an_unforeseen_failure_shows_nothing_of_the_inside(post, engine, caplog):
    engine.refusal = RuntimeError("secret path /home/x")
    reply = post(CHAT, {"messages": HI})
    assert "secret" not in error(reply, 500, None, "internal_error")["message"]
    assert "secret path" in caplog.text


def test_refusals_are_counted(post, call, engine):
    engine.refusal = Overloaded("full")
    post(CHAT, {"messages": HI})
    # the fixture makes one application, so its metrics are those of the refusal above
    said = re.search(r"penstock:requests_rejected_total\{(.*)\} (\S+)", call("GET", "/metrics").text)
    assert 'status="503"' in said[1] and 'reason="overloaded"' in said[1] and said[2] == "1.0"


def test_a_hostile_body_is_refused_quickly(call):
    import time

    body = json.dumps({"messages": HI, "stop_token_ids": [-1] * 300_000, "x": [{}] * 300_000}).encode()
    began = time.perf_counter()
    error(call("POST", CHAT, content=body), 400, "stop_token_ids[0]")
    assert time.perf_counter() - began < 5
