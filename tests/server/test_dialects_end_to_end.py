"""Responses and messages on the bundled model, through the clients that people use."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import anthropic
import openai
import pytest
from pydantic import BaseModel

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig, ServerConfig
from tests.server.live import serving

pytestmark = pytest.mark.e2e
ASK = "Hello! Who are you?"


@pytest.fixture(scope="module")
def url():
    config = Config(
        model=ModelConfig(served_model_name="m", device="cpu"),
        cache=CacheConfig(kv_cache_memory_bytes=64 * 2**20),
        schedule=ScheduleConfig(max_num_seqs=4),
        server=ServerConfig(inproc=True),
    )
    with serving(None, config) as (port, _, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(url):
    return openai.OpenAI(
        base_url=f"{url}/v1", api_key="k", max_retries=0, _strict_response_validation=True
    )  # fmt: skip


def chat(client, **more):
    ask = {"model": "m", "max_tokens": 24, "temperature": 0, "messages": [{"role": "user", "content": ASK}]}
    return client.chat.completions.create(**{**ask, **more}).choices[0].message.content


def test_responses(client):
    ask = {"model": "m", "input": ASK, "max_output_tokens": 24, "temperature": 0}
    whole = client.responses.create(**ask)
    assert whole.output_text == chat(client) != ""
    with client.responses.stream(**ask) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == whole.output_text
    counted = client.responses.input_tokens.count(model="m", input=ASK)
    assert counted.input_tokens == whole.usage.input_tokens
    after = client.responses.create(**{**ask, "input": "And then?", "previous_response_id": whole.id})
    talk = [
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": whole.output_text},
        {"role": "user", "content": "And then?"},
    ]
    assert after.output_text == chat(client, messages=talk)


def test_a_response_in_a_form(client):
    class Answer(BaseModel):
        yes: bool
        count: int

    parsed = client.responses.parse(
        model="m",
        input="Answer in JSON.",
        text_format=Answer,
        max_output_tokens=100,
        temperature=0,
        extra_body={"frequency_penalty": 2},  # a small model likes blanks, which JSON allows without end
    )
    assert isinstance(parsed.output_parsed, Answer)
    with pytest.raises(openai.BadRequestError) as caught:
        bad = {"type": "json_schema", "name": "a", "schema": {"type": "nothing"}}
        client.responses.create(model="m", input="x", text={"format": bad})
    assert caught.value.param.startswith("text.format")


def test_a_call_that_must_be_made(client):
    tool = {
        "type": "function", "name": "add", "strict": True,
        "parameters": {
            "type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"],
            "additionalProperties": False,
        },
    }  # fmt: skip
    ask = {"model": "m", "input": "add", "tools": [tool], "tool_choice": "required", "max_output_tokens": 200}
    with client.responses.stream(**ask, parallel_tool_calls=False) as stream:
        final = stream.get_final_response()
    (call,) = [item for item in final.output if item.type == "function_call"]
    assert call.name == "add" and isinstance(call.parsed_arguments["a"], bool)


def test_messages(url, client):
    claude = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0, _strict_response_validation=True)
    ask = {
        "model": "m", "max_tokens": 24, "messages": [{"role": "user", "content": ASK}],
        "extra_body": {"temperature": 0},  # newer clients have no argument for it
    }  # fmt: skip
    message = claude.messages.create(**ask)
    assert message.content[0].text == chat(client)
    with claude.messages.stream(**ask) as stream:
        assert stream.get_final_text() == message.content[0].text
    counted = claude.messages.count_tokens(model="m", messages=ask["messages"])
    assert counted.input_tokens == message.usage.input_tokens + message.usage.cache_read_input_tokens
    begun = [*ask["messages"], {"role": "assistant", "content": message.content[0].text[:6]}]
    assert claude.messages.create(**{**ask, "messages": begun}).content[0].text
    tool = {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "boolean"}}}}
    called = claude.messages.create(
        **{**ask, "max_tokens": 200}, tools=[tool],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )  # fmt: skip
    assert called.stop_reason == "tool_use" and called.content[-1].name == "add"
