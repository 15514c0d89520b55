"""Structured output over HTTP on a real engine: true statuses, also for streams, and answers that parse."""

import json
import re

import httpx
import jsonschema
import msgspec
import pytest

from penstock.config.settings import Config, ModelConfig, ScheduleConfig, ServerConfig, StructuredConfig
from tests.server.conftest import events
from tests.server.live import serving
from tests.server.tiny import build

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
CHAT = {"messages": [{"role": "user", "content": "hi"}], "temperature": 1.0, "max_tokens": 200}


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    config = Config(
        model=ModelConfig(model=build(tmp_path_factory.mktemp("tiny")), dtype="float32", device="cpu"),
        schedule=ScheduleConfig(max_num_seqs=4),
        structured=StructuredConfig(grammar_compile_seconds=1.0, grammar_compile_memory_bytes=2**28),
        server=ServerConfig(inproc=True, port=0, log_level="error"),
    )
    with (
        serving(None, msgspec.structs.replace(config)) as (port, _, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client,
    ):
        yield client


def post(http, path, body):
    return http.post(path, json=body)


def test_a_schema(http):
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}
    for seed in range(3):
        answer = post(http, "/v1/chat/completions", {**CHAT, "seed": seed, "response_format": form})
        assert answer.status_code == 200, answer.text
        choice = answer.json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)


def test_a_stream_and_several_answers(http):
    body = {**CHAT, "stream": True, "n": 2, "structured_outputs": {"regex": "[ab]{4}-[0-9]"}}
    answer = post(http, "/v1/chat/completions", body)
    assert answer.status_code == 200
    texts = {0: "", 1: ""}
    for event in events(answer):
        for choice in event["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
    assert all(re.fullmatch("[ab]{4}-[0-9]", text) for text in texts.values())


def test_completions_and_choices(http):
    body = {"prompt": ["a", "b"], "max_tokens": 20, "guided_choice": ["yes", "no"]}
    answer = post(http, "/v1/completions", body)
    assert [choice["text"] in ("yes", "no") for choice in answer.json()["choices"]] == [True, True]


def test_an_answer_cut_off_says_length(http):
    answer = post(http, "/v1/completions", {"prompt": "a", "max_tokens": 3, "regex": "a{40}"})
    choice = answer.json()["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("aaa", "length")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"regex": "a("}, "regex"),
        ({"guided_grammar": "root ::= nope"}, "guided_grammar"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}},
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {"regex": "((a{1,100}){1,100}){1,100}"}}, "structured_outputs.regex"),
        ({"response_format": {"type": "structural_tag", "format": {"type": "nope"}}}, "response_format"),
    ],
)
def test_what_cannot_be_compiled_is_a_400_before_any_token(http, fields, param, stream):
    answer = post(http, "/v1/chat/completions", {**CHAT, "stream": stream, **fields})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    after = post(http, "/v1/completions", {"prompt": "a", "max_tokens": 2})
    assert after.status_code == 200, "and the engine goes on"
