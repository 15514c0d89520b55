"""OpenAI's Python client. `pip install openai`, then `python openai_python.py --base-url http://...`."""

import asyncio
import json

import openai
from harness import Checks
from pydantic import BaseModel

check = Checks("openai")
client = openai.OpenAI(base_url=check.api, api_key=check.key, max_retries=0, timeout=120)
COUNT = [{"role": "user", "content": "Count from two to five."}]
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "size": {"enum": ["small", "big"]}},
    "required": ["ok", "size"],
    "additionalProperties": False,
}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}


def chat(**more):
    asked = {"model": check.model, "messages": COUNT, "max_tokens": 24, "temperature": 0, **more}
    return client.chat.completions.create(**asked)


@check
def models():
    found = client.models.list().data
    assert [one.id for one in found] == [check.model]
    assert client.models.retrieve(check.model).owned_by == "penstock"


@check
def chat_whole():
    reply = chat()
    assert reply.choices[0].message.content and reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.prompt_tokens_details.cached_tokens is not None


@check
def chat_stream():
    whole = chat().choices[0].message.content
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == whole
    assert chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices


@check
def chat_stream_helper():
    with client.chat.completions.stream(model=check.model, messages=COUNT, max_tokens=12) as stream:
        kinds = {event.type for event in stream}
        assert "content.delta" in kinds
        assert stream.get_final_completion().choices[0].message.content is not None


@check
def chat_n_and_seed():
    first, second = (chat(n=3, temperature=1, seed=7) for _ in range(2))
    texts = [one.message.content for one in first.choices]
    assert len(texts) == 3 and texts == [one.message.content for one in second.choices]


@check
def chat_logprobs():
    for entry in chat(logprobs=True, top_logprobs=3).choices[0].logprobs.content:
        assert len(entry.top_logprobs) == 3 and entry.logprob <= 0
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[-1].logprob


@check
def chat_fields_of_newer_clients():
    reply = chat(
        max_tokens=openai.omit, max_completion_tokens=5, user="somebody", store=False, metadata={"a": "b"},
        reasoning_effort="low", service_tier="auto", parallel_tool_calls=openai.omit, stop=["@@"],
    )  # fmt: skip
    assert reply.usage.completion_tokens <= 5


@check
def completions():
    reply = client.completions.create(model=check.model, prompt=["One", "Two"], max_tokens=4, logprobs=2)
    assert [one.index for one in reply.choices] == [0, 1]
    assert len(reply.choices[0].logprobs.tokens) == len(reply.choices[0].logprobs.text_offset) <= 4
    chunks = list(client.completions.create(model=check.model, prompt="One", max_tokens=4, stream=True))
    assert chunks[-1].choices[0].finish_reason


@check
def completions_echo():
    reply = client.completions.create(
        model=check.model, prompt="One two", max_tokens=0, echo=True, logprobs=1, temperature=0
    )
    assert reply.choices[0].text == "One two" and reply.choices[0].logprobs.token_logprobs[0] is None


@check
def embeddings():
    plain = client.embeddings.create(model=check.model, input=["a", "b"], encoding_format="float").data
    packed = client.embeddings.create(model=check.model, input=["a", "b"]).data  # the client asks for base64
    assert len(plain) == 2
    assert max(abs(x - y) for x, y in zip(plain[0].embedding, packed[0].embedding, strict=True)) < 1e-6


@check
def errors():
    for asked, kind in (
        ({"model": "nobody"}, openai.NotFoundError),
        ({"temperature": -1}, openai.BadRequestError),
        ({"messages": []}, openai.BadRequestError),
    ):
        try:
            chat(**asked)
        except kind as exc:
            assert exc.body["message"] and exc.request_id
        else:
            raise AssertionError(f"{asked} was accepted")


@check
def json_object():
    reply = chat(response_format={"type": "json_object"})
    if reply.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(reply.choices[0].message.content), dict)


@check
def json_schema():
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    reply = chat(response_format=form, temperature=1, max_tokens=200)
    assert set(json.loads(reply.choices[0].message.content)) == {"ok", "size"}


@check
def parsed():
    class Answer(BaseModel):
        ok: bool

    reply = client.chat.completions.parse(
        model=check.model, messages=COUNT, response_format=Answer, max_tokens=200
    )
    assert isinstance(reply.choices[0].message.parsed, Answer)


@check
def tools():
    reply = chat(tools=[TOOL], tool_choice="required", max_tokens=200).choices[0]
    assert reply.finish_reason == "tool_calls"
    (call,) = reply.message.tool_calls
    assert call.function.name == "weather" and json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")
    turns = [
        *COUNT,
        reply.message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    assert chat(messages=turns, tools=[TOOL], tool_choice="none").choices[0].message.content is not None


@check
def tools_stream():
    named = {"type": "function", "function": {"name": "weather"}}
    name, arguments, ends = "", "", []
    for chunk in chat(tools=[TOOL], tool_choice=named, max_tokens=200, stream=True):
        for call in chunk.choices[0].delta.tool_calls or ():
            name += call.function.name or ""
            arguments += call.function.arguments or ""
        ends.append(chunk.choices[0].finish_reason)
    assert name == "weather" and json.loads(arguments)["city"] in ("Rome", "Oslo")
    assert [one for one in ends if one]


@check
def responses():
    reply = client.responses.create(model=check.model, input="Count from two to five.", max_output_tokens=24)
    assert reply.output_text and reply.status in ("completed", "incomplete")
    again = client.responses.retrieve(reply.id)
    assert again.output_text == reply.output_text
    client.responses.delete(reply.id)


@check
def responses_stream():
    with client.responses.stream(model=check.model, input="Count.", max_output_tokens=12) as stream:
        kinds = [event.type for event in stream]
        text = stream.get_final_response().output_text
    assert kinds[0] == "response.created" and "response.output_text.delta" in kinds and text is not None


@check
def asynchronous():
    async def several():
        async with openai.AsyncOpenAI(base_url=check.api, api_key=check.key, max_retries=0) as aclient:
            asks = [
                aclient.chat.completions.create(model=check.model, messages=COUNT, max_tokens=6)
                for _ in range(8)
            ]
            return await asyncio.gather(*asks)

    assert len(asyncio.run(several())) == 8


check.end()
