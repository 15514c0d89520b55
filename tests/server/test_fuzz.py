"""Whatever a body holds, it is answered or refused with a reason; nothing else ever happens."""

import json
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from penstock.core.errors import InvalidRequest
from penstock.frontend.params import parse_params
from penstock.server.asks import chat_ask, completion_asks
from penstock.server.body import parse
from penstock.server.errors import APIError, from_exception
from penstock.server.schemas.chat import ChatRequest
from penstock.server.schemas.completion import CompletionRequest
from penstock.server.schemas.tokens import DetokenizeRequest, TokenizeRequest
from tests.server.fakes import CONFIG, FakeEngine

REFUSALS = (APIError, InvalidRequest, ValidationError)
SERVICE = SimpleNamespace(config=CONFIG, engine=FakeEngine())
REQUEST = SimpleNamespace(headers={}, scope={}, app=SimpleNamespace(state=SimpleNamespace(service=SERVICE)))
BODIES = {
    name: TypeAdapter(kind)
    for name, kind in {
        "chat": ChatRequest, "text": CompletionRequest, "tokenize": TokenizeRequest,
        "back": DetokenizeRequest,
    }.items()
}  # fmt: skip
FIELDS = sorted({*ChatRequest.model_fields, *CompletionRequest.model_fields, "tokens", "unknown"})

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.integers(-3, 3), st.floats(),
    st.text(max_size=8), st.sampled_from(["text", "user", "json_object", "0", "-1", "1e9"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
messages = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls"]), values, max_size=4),
    max_size=3,
)
plausible = {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "tokens": [1]}
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=5).map(lambda body: {**plausible, **body})


def refused_with_reason(exc):
    error = from_exception(exc)
    assert error.status == 400
    assert json.loads(error.body())["error"]["message"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(BODIES)), bodies | values | st.fixed_dictionaries({"messages": messages}))
def test_any_json(kind, body):
    try:
        parsed = parse(BODIES[kind], json.dumps(body).encode())
        asks = {"chat": lambda: [chat_ask(parsed, REQUEST)], "text": lambda: completion_asks(parsed, REQUEST)}
        for ask in asks.get(kind, list)():
            parse_params(ask.params)
    except REFUSALS as exc:
        refused_with_reason(exc)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(BODIES)), st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_bytes(kind, raw):
    try:
        parse(BODIES[kind], raw)
    except REFUSALS as exc:
        refused_with_reason(exc)
