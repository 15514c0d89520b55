"""The `openai` client, which checks every reply against its types, on scripted answers."""

import json

import msgspec
import openai
import pytest
from pydantic import BaseModel

from tests.server.fakes import CONFIG, FakeEngine
from tests.server.live import serving
from tests.server.responses.test_stream import ANSWER

TOOLS = [
    {
        "type": "function", "name": name, "description": "d", "strict": True,
        "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            "additionalProperties": False,
        },
    }
    for name in ("get", "put")
]  # fmt: skip
CONFIG = msgspec.structs.replace(
    CONFIG,
    server=msgspec.structs.replace(CONFIG.server, reasoning_parser="think", tool_call_parser="hermes"),
)


class City(BaseModel):
    name: str
    people: int


@pytest.fixture(scope="module")
def place():
    engine = FakeEngine()
    with serving(engine, CONFIG) as (port, _, _):
        url = f"http://127.0.0.1:{port}/v1"
        yield engine, openai.OpenAI(
            base_url=url, api_key="none", max_retries=0, _strict_response_validation=True
        )  # fmt: skip


@pytest.fixture
def client(place):
    return place[1]


@pytest.fixture
def engine(place):
    engine = place[0]
    yield engine
    engine.text, engine.fail_at, engine.stride = FakeEngine().text, None, 3
    engine.asked.clear()


def test_create(client, engine):
    response = client.responses.create(model="fake", input="hi", instructions="be", metadata={"k": "v"})
    assert response.output_text == "Hello world" and response.status == "completed"
    assert response.metadata == {"k": "v"} and response.usage.output_tokens == 11


def test_stream_helper(client):
    with client.responses.stream(model="fake", input="hi", top_logprobs=1) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == "Hello world"
    assert len(final.output[0].content[0].logprobs) == len("Hello world")


def test_async_stream():
    import asyncio

    async def go(port):
        url = f"http://127.0.0.1:{port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            stream = await client.responses.create(model="fake", input="hi", stream=True)
            return [event.type async for event in stream]

    with serving(FakeEngine(), CONFIG) as (port, _, _):
        assert asyncio.run(go(port))[-1] == "response.completed"


def test_parse_into_a_pydantic_model(client, engine):
    engine.text = '{"name": "Oslo", "people": 709}'
    parsed = client.responses.parse(model="fake", input="a city", text_format=City)
    assert parsed.output_parsed == City(name="Oslo", people=709)
    options = engine.asked[-1][2]
    assert options.grammar is not None and "people" in options.grammar.text
    assert parsed.text.format.type == "json_schema"
    with client.responses.stream(model="fake", input="a city", text_format=City) as stream:
        assert stream.get_final_response().output_parsed.name == "Oslo"


def test_tools_there_and_back(client, engine):
    engine.text = ANSWER
    first = client.responses.create(model="fake", input="weather?", tools=TOOLS)
    reasoning, message, get, put = first.output
    assert reasoning.content[0].text == "Let me\nsee." and message.content[0].text.strip() == "Sure."
    assert get.name == "get" and json.loads(get.arguments) == {"city": "Paris"} and put.name == "put"
    assert first.usage.output_tokens_details.reasoning_tokens > 0
    engine.text = "Sunny."
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"} for call in (get, put)
    ]
    again = client.responses.create(
        model="fake", input=results, tools=TOOLS, previous_response_id=first.id
    )  # fmt: skip
    assert again.output_text == "Sunny."
    by_hand = [{"role": "user", "content": "weather?"}, *first.output, *results]
    client.responses.create(model="fake", input=by_hand, tools=TOOLS, store=False)
    stored, given = engine.asked[-2][0], engine.asked[-1][0]
    assert stored.messages == given.messages
    assert [message["role"] for message in stored.messages] == ["user", "assistant", "tool", "tool"]
    assert stored.tools == given.tools and len(stored.tools) == 2


def test_tools_streamed(client, engine):
    engine.text = ANSWER
    with client.responses.stream(model="fake", input="weather?", tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert {"response.reasoning_text.delta", "response.function_call_arguments.done"} <= kinds
    calls = [item for item in final.output if item.type == "function_call"]
    assert calls[0].parsed_arguments == {"city": "Paris"}


@pytest.mark.parametrize(
    "choice",
    [
        "none",
        "required",
        {"type": "function", "name": "put"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get"}]},
    ],
)
def test_tool_choice_is_taken_and_told(client, choice):
    response = client.responses.create(model="fake", input="x", tools=TOOLS, tool_choice=choice)
    told = response.tool_choice
    assert (told if isinstance(told, str) else told.model_dump(exclude_none=True)) == choice
    with pytest.raises(openai.BadRequestError):
        client.responses.create(
            model="fake", input="x", tools=TOOLS, tool_choice={"type": "function", "name": "nothing"}
        )


def test_a_stream_that_fails_ends_with_its_failure(client, engine):
    engine.fail_at = 2
    events = list(client.responses.create(model="fake", input="hi", stream=True))
    assert events[-1].type == "response.failed" and "on fire" in events[-1].response.error.message


def test_leaving_a_stream_ends_it_in_the_engine(client, engine):
    engine.stride, engine.text, engine.delay = 1, "x" * 200, 0.01
    with client.responses.create(model="fake", input="hi", stream=True) as stream:
        next(iter(stream))
    engine.delay = 0.0
    left = client.responses.create(model="fake", input="hi", max_output_tokens=3)
    assert left.status == "incomplete"
    for _ in range(500):
        if not engine.running:
            break
        client.responses.input_tokens.count(model="fake", input="x")
    assert engine.running == {} and len(engine.cancelled) == 1
    engine.cancelled.clear()
