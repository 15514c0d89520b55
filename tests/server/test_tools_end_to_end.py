"""Tools through the `openai` client: a round trip against a script, and random weights that must call."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json

import jsonschema
import msgspec
import openai
import pytest

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig, ServerConfig
from tests.server import tiny
from tests.server.fakes import CONFIG, FakeEngine
from tests.server.live import serving

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA},
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
SCHEMAS = {"get_weather": SCHEMA, "now": {"type": "object", "additionalProperties": False}}
ASK = {"model": "fake", "tools": TOOLS}
QUESTION = {"role": "user", "content": "What is the weather in Bonn?"}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bonn", "unit": "C"}}\n</tool_call>'


@pytest.fixture
def script():
    engine = FakeEngine(CALL)
    with serving(engine, CONFIG) as (port, _, _):
        yield engine, openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


def test_a_round_of_tools(script):
    engine, client = script
    messages = [QUESTION]
    first = client.chat.completions.create(messages=messages, **ASK).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.content is None
    (call,) = first.message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Bonn", "unit": "C"}
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "12 C"}]
    engine.text = "It is 12 C."
    second = client.chat.completions.create(messages=messages, **ASK).choices[0]
    assert (second.finish_reason, second.message.content) == ("stop", "It is 12 C.")
    told = engine.asked[-1][0].messages
    assert told[1]["tool_calls"][0]["id"] == told[2]["tool_call_id"] == call.id


def test_a_streamed_round_of_tools(script):
    engine, client = script
    with client.chat.completions.stream(messages=[QUESTION], **ASK) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion().choices[0]
    assert "tool_calls.function.arguments.delta" in kinds and "tool_calls.function.arguments.done" in kinds
    assert final.finish_reason == "tool_calls"
    assert json.loads(final.message.tool_calls[0].function.arguments) == {"city": "Bonn", "unit": "C"}
    engine.text = "It is 12 C."
    with client.chat.completions.stream(messages=[QUESTION, final.message.to_dict()], **ASK) as stream:
        assert stream.get_final_completion().choices[0].message.content == "It is 12 C."


TEMPLATE = "{# tools #}" + tiny.TEMPLATE
THINKING = TEMPLATE.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|><think>' }}")
RULES = {"temperature": 1, "max_tokens": 160}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("tiny"), TEMPLATE, 1024)


@pytest.fixture(scope="module", params=["mistral_args", "pythonic"])
def random_model(request, folder):
    """A model of random weights that must write the calls of one form; the other forms are below and under
    tests/frontend/answers."""
    with serving(None, config(folder, tool_call_parser=request.param)) as (port, _, _):
        yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


def config(folder, **server):
    return Config(
        model=ModelConfig(model=folder, served_model_name="tiny", device="cpu", dtype="float32"),
        cache=CacheConfig(kv_cache_memory_bytes=16 * 2**20),
        schedule=ScheduleConfig(max_num_seqs=16, max_num_batched_tokens=64),
        server=msgspec.structs.replace(ServerConfig(inproc=True), **server),
    )


def check(choice, most=None):
    """Return whether an answer ended by itself, and check that it is calls and nothing else if so."""
    if choice.finish_reason == "length":
        return False
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert most is None or len(choice.message.tool_calls) <= most
    for call in choice.message.tool_calls:
        jsonschema.validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])
    return True


def test_required_calls_of_random_weights_always_parse(random_model):
    ask = {"model": "tiny", "messages": [QUESTION], "tools": TOOLS, **RULES}
    answers = random_model.chat.completions.create(**ask, tool_choice="required", n=6, seed=1).choices
    assert sum(check(choice) for choice in answers) >= 2
    named = {"type": "function", "function": {"name": "get_weather"}}
    answers = random_model.chat.completions.create(**ask, tool_choice=named, n=4, seed=2).choices
    assert sum(check(choice, most=1) for choice in answers) >= 1
    called = {call.function.name for choice in answers for call in choice.message.tool_calls or ()}
    assert called == {"get_weather"}


def test_reasoning_ends_before_the_calls_begin(tmp_path):
    folder = tiny.build(tmp_path, THINKING, 1024)
    with serving(None, config(folder, tool_call_parser="hermes", reasoning_parser="think")) as (port, _, _):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
        answers = client.chat.completions.create(
            model="tiny", messages=[QUESTION], tools=TOOLS, tool_choice="required", n=4, seed=3, **RULES,
            parallel_tool_calls=False,
            extra_body={"thinking_token_budget": 12},
        )  # fmt: skip
    assert sum(check(choice) for choice in answers.choices) >= 1
    for choice in answers.choices:
        assert 0 < len(choice.message.reasoning_content) <= 12
    assert answers.usage.completion_tokens_details.reasoning_tokens == 4 * (12 + len("</think>"))
