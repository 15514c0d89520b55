"""LangChain. `pip install langchain-openai`, then `python langchain_python.py --base-url URL`."""

import asyncio
from typing import Literal

from harness import Checks
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

check = Checks("langchain-openai")
TURNS = [SystemMessage("You are brief."), HumanMessage("Count from two to five.")]


def model(**more):
    return ChatOpenAI(
        model=check.model, base_url=check.api, api_key=check.key, max_retries=0,
        **{"temperature": 0, "max_tokens": 200, **more},
    )  # fmt: skip


def weather(city: Literal["Rome", "Oslo"]) -> str:
    """Say what the weather is in a city."""
    return f"sunny in {city}"


@check
def invoke():
    reply = model(max_tokens=24).invoke(TURNS)
    assert reply.content and reply.usage_metadata["output_tokens"] > 0
    assert reply.response_metadata["finish_reason"] in ("stop", "length")


@check
def stream():
    pieces = list(model(max_tokens=24).stream(TURNS))
    assert "".join(piece.content for piece in pieces) == model(max_tokens=24).invoke(TURNS).content


@check
def batch_and_async():
    assert len(model(max_tokens=4).batch([TURNS] * 4)) == 4
    assert asyncio.run(model(max_tokens=4).ainvoke(TURNS)).content is not None


@check
def completions():
    older = OpenAI(model=check.model, base_url=check.api, api_key=check.key, max_tokens=4)
    assert isinstance(older.invoke("One"), str)


@check
def embeddings():
    made = OpenAIEmbeddings(
        model=check.model, base_url=check.api, api_key=check.key, check_embedding_ctx_length=False
    )
    assert len(made.embed_documents(["a", "b"])) == 2


@check
def structured_output():
    class Answer(BaseModel):
        ok: bool

    assert isinstance(model().with_structured_output(Answer, method="json_schema").invoke(TURNS), Answer)


@check
def structured_output_by_tools():
    class Answer(BaseModel):
        ok: bool

    assert isinstance(model().with_structured_output(Answer, method="function_calling").invoke(TURNS), Answer)


@check
def bind_tools():
    bound = model().bind_tools([weather], tool_choice="required", strict=True)
    reply = bound.invoke(TURNS)
    (call,) = reply.tool_calls
    assert call["name"] == "weather" and call["args"]["city"] in ("Rome", "Oslo")
    turns = [*TURNS, reply, ToolMessage(weather(**call["args"]), tool_call_id=call["id"])]
    assert model(max_tokens=8).invoke(turns).content is not None


@check
def responses_api():
    assert model(max_tokens=24, use_responses_api=True).invoke(TURNS).text is not None


check.end()
