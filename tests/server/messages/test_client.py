"""The `anthropic` client, which checks every reply against its types, on scripted answers."""

import anthropic
import pytest
from pydantic import BaseModel

from tests.server.fakes import FakeEngine
from tests.server.live import serving
from tests.server.responses.test_client import CONFIG
from tests.server.responses.test_stream import ANSWER

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": name, "description": "d", "input_schema": SCHEMA} for name in ("get", "put")]
HI = {"role": "user", "content": "hi"}


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def client(engine):
    with serving(engine, CONFIG) as (port, _, _):
        yield anthropic.Anthropic(
            base_url=f"http://127.0.0.1:{port}", api_key="k", max_retries=0,
            _strict_response_validation=True,
        )  # fmt: skip


def ask(**more):
    return {"model": "fake", "max_tokens": 200, "messages": [HI], **more}


def test_create_and_count(client):
    message = client.messages.create(**ask(system="be", stop_sequences=["##"], metadata={"user_id": "ann"}))
    assert message.content[0].text == "Hello world" and message.stop_reason == "end_turn"
    assert message._request_id
    counted = client.messages.count_tokens(model="fake", messages=[HI], system="be")
    assert counted.input_tokens == message.usage.input_tokens + message.usage.cache_read_input_tokens


def test_stream_helper(client):
    with client.messages.stream(**ask()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == "Hello world" and final.usage.output_tokens == 11


def test_raw_stream(client):
    kinds = [event.type for event in client.messages.create(**ask(stream=True))]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"


def test_async_stream(engine):
    import asyncio

    async def go(port):
        url = f"http://127.0.0.1:{port}"
        async with (
            anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client,
            client.messages.stream(**ask()) as stream,
        ):
            return await stream.get_final_text()

    with serving(engine, CONFIG) as (port, _, _):
        assert asyncio.run(go(port)) == "Hello world"


def test_tools_there_and_back(client, engine):
    engine.text = ANSWER
    first = client.messages.create(
        **ask(tools=TOOLS, thinking={"type": "enabled", "budget_tokens": 100}, tool_choice={"type": "auto"})
    )  # fmt: skip
    thinking, text, get, put = first.content
    assert thinking.thinking == "Let me\nsee." and text.text.strip() == "Sure."
    assert (get.name, get.input, put.input) == ("get", {"city": "Paris"}, {})
    assert first.stop_reason == "tool_use"
    engine.text = "Sunny."
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "sun"} for use in (get, put)]
    talk = [HI, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    assert client.messages.create(**ask(messages=talk, tools=TOOLS)).content[0].text == "Sunny."
    chat = engine.asked[-1][0]
    assert [message["role"] for message in chat.messages] == ["user", "assistant", "tool", "tool"]
    assert chat.messages[1]["reasoning_content"] == "Let me\nsee." and len(chat.tools) == 2
    assert [message["tool_call_id"] for message in chat.messages[2:]] == [get.id, put.id]


def test_tools_streamed(client, engine):
    engine.text = ANSWER
    with client.messages.stream(**ask(tools=TOOLS)) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_message()
    assert {"thinking", "text", "input_json", "content_block_stop"} <= kinds
    assert final.content[2].input == {"city": "Paris"} and final.stop_reason == "tool_use"


def test_parse_into_a_pydantic_model(client, engine):
    class City(BaseModel):
        name: str

    engine.text = '{"name": "Oslo"}'
    parsed = client.messages.parse(**ask(output_format=City))
    assert parsed.parsed_output == City(name="Oslo")
    assert engine.asked[-1][2].grammar is not None


def test_errors_are_the_clients_own(client, engine):
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**ask(max_tokens=0))
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**ask(model="other"))
    engine.fail_at = 2
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(**ask())
    with pytest.raises(anthropic.APIStatusError, match="on fire"):
        list(client.messages.create(**ask(stream=True)))
