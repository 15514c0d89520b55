"""LiteLLM as a client. `pip install litellm mcp`, then `python litellm_python.py --base-url http://...`."""

import asyncio
import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches one when imported

import litellm
from harness import Checks

check = Checks("litellm")
HI = [{"role": "user", "content": "Count from two to five."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Rome", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TO = {"api_base": check.api, "api_key": check.key}


def chat(provider="openai", **more):
    asked = {"messages": HI, "max_tokens": 24, "temperature": 0, **TO, **more}
    return litellm.completion(model=f"{provider}/{check.model}", **asked)


@check
def completion():
    reply = chat()
    assert reply.choices[0].message.content and reply.usage.completion_tokens > 0


@check
def streaming():
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chat(stream=True))
    assert text == chat().choices[0].message.content


@check
def asynchronous_streaming():
    async def several():
        stream = await litellm.acompletion(
            model=f"openai/{check.model}", messages=HI, max_tokens=8, stream=True, **TO
        )
        return [chunk async for chunk in stream]

    assert asyncio.run(several())


@check
def as_hosted_vllm():
    assert chat("hosted_vllm").choices[0].message.content


@check
def text_completion():
    reply = litellm.text_completion(
        model=f"text-completion-openai/{check.model}", prompt="One", max_tokens=4, **TO
    )
    assert reply.choices[0].text is not None


@check
def embedding():
    reply = litellm.embedding(model=f"openai/{check.model}", input=["a", "b"], **TO)
    assert len(reply.data) == 2


@check
def tools():
    reply = chat(tools=[TOOL], tool_choice="required", max_tokens=200)
    (call,) = reply.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")


@check
def json_schema():
    form = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": TOOL["function"]["parameters"], "strict": True},
    }
    reply = chat(response_format=form, max_tokens=200)
    assert json.loads(reply.choices[0].message.content)["city"] in ("Rome", "Oslo")


@check
def errors():
    try:
        chat(model_extra="x", temperature=-1)
    except litellm.BadRequestError as exc:
        assert "temperature" in str(exc)
    else:
        raise AssertionError("a negative temperature was accepted")


@check
def as_anthropic():
    reply = litellm.completion(
        model=f"anthropic/{check.model}", messages=HI, max_tokens=8, api_base=check.root, api_key=check.key
    )
    assert reply.choices[0].message.content is not None


check.end()
