"""The description holds what no generated request can show: that nothing is left out of it."""

import json
import re

import httpx
import pytest
from jsonschema_rs import validator_for

from penstock.server.app import ROUTERS, create_app
from penstock.server.described import answers_of
from tests.server.conftest import call, config, engine, post  # noqa: F401
from tests.server.fakes import CONFIG, FakeEngine
from tests.server.test_bad_input import error

DESCRIPTION = create_app(FakeEngine(), CONFIG).openapi()
HI = [{"role": "user", "content": "hi"}]


def strict(schema):
    """Return the schema with all unnamed properties forbidden: what is sent must be described."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        if "properties" in schema and "additionalProperties" not in schema:
            closed["additionalProperties"] = False
        return closed
    return [strict(one) for one in schema] if isinstance(schema, list) else schema


def holds(path, value, method="post", kind="application/json"):
    content = DESCRIPTION["paths"][path][method]["responses"]["200"]["content"][kind]
    schema = content["x-event-schema" if kind == "text/event-stream" else "schema"]
    wrong = [
        one.message
        for one in validator_for(
            {**strict(schema), "components": strict(DESCRIPTION["components"])}
        ).iter_errors(value)
    ]
    assert not wrong, f"{wrong[:3]} in {json.dumps(value)[:500]}"


@pytest.mark.parametrize(
    "route",
    [route for router in ROUTERS for route in router.routes if getattr(route, "include_in_schema", False)],
    ids=lambda route: f"{min(route.methods)} {route.path}",
)
def test_every_route_says_what_it_answers(route):
    noted = answers_of(route.endpoint)
    assert noted is not None, "put @answers below the router's decorator"
    assert noted.reply is not None or noted.events
    operation = DESCRIPTION["paths"][route.path_format][min(route.methods).lower()]
    assert operation["summary"] and operation["description"]
    assert "422" not in operation["responses"]  # the framework's shape of errors is not ours


def test_statuses_follow_from_what_a_route_takes():
    def said(path, method="post"):
        operation = DESCRIPTION["paths"][path][method]
        return set(map(int, operation["responses"])), operation["security"]

    generating, keyed = said("/v1/chat/completions")
    assert generating == {200, 400, 401, 403, 404, 408, 413, 429, 499, 500, 503, 504} and len(keyed) == 2
    probing, keyed = said("/health", "get")
    assert probing == {200, 500, 503} and keyed == [{}]
    assert 400 in said("/v1/responses/{response_id}", "get")[0]  # it takes parameters


def test_every_reference_leads_somewhere():
    refs = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(DESCRIPTION)))
    assert refs <= set(DESCRIPTION["components"]["schemas"])


SCORED = {"logprobs": True, "top_logprobs": 2, "return_token_ids": True, "n": 2, "prompt_logprobs": 1}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HI}),
        ("/v1/chat/completions", {"messages": HI, **SCORED}),
        ("/v1/completions", {"prompt": ["x", "y"]}),
        ("/v1/completions", {"prompt": "x", **SCORED, "logprobs": 2, "echo": True, "top_logprobs": None}),
        ("/generate", {"text": "x", "return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 2}),
        ("/inference/v1/generate", {"token_ids": [97], "sampling_params": {"logprobs": 1, "max_tokens": 9}}),
        ("/v1/responses", {"input": "x"}),
        ("/v1/messages", {"messages": HI, "max_tokens": 9, "model": "fake"}),
    ],
)
def test_nothing_is_sent_that_is_not_described(post, path, body):  # noqa: F811
    whole = post(path, body)
    assert whole.status_code == 200, whole.text
    holds(path, whole.json())
    stream = post(path, {**body, "stream": True})
    data = [line[6:] for line in stream.text.splitlines() if line.startswith("data: ")]
    for event in data:
        if event != "[DONE]":
            holds(path, json.loads(event), kind="text/event-stream")
    assert len(data) > 2


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/model_info",
        "/tokenizer_info",
        "/server_info",
        "/health",
        "/ready",
        "/live",
        "/version",
        "/load",
    ],
)
def test_facts_are_described(call, path):  # noqa: F811
    holds(path, call("GET", path).json(), method="get")


@pytest.mark.parametrize("path", ["/model_info", "/server_info"])
def test_facts_have_sglangs_names_too(call, path):  # noqa: F811
    assert call("GET", path.replace("/", "/get_")).json() == call("GET", path).json()


def test_live_events_are_described(url):
    with httpx.stream("GET", f"{url}/live/events", timeout=10) as stream:
        line = next(line for line in stream.iter_lines() if line.startswith("data: "))
    holds("/live/events", json.loads(line.removeprefix("data: ")), "get", "text/event-stream")


def test_keys_are_not_told(engine):  # noqa: F811
    import asyncio

    import msgspec

    keyed = msgspec.structs.replace(
        CONFIG, server=msgspec.structs.replace(CONFIG.server, api_key=("s3cret",))
    )

    async def ask():
        transport = httpx.ASGITransport(app=create_app(engine, keyed))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/server_info")).status_code == 401
            return await client.get("/server_info", headers={"Authorization": "Bearer s3cret"})

    reply = asyncio.run(ask())
    assert reply.status_code == 200 and "s3cret" not in reply.text


def test_refused_parameters_have_our_shape(call):  # noqa: F811
    error(call("GET", "/v1/responses/x?stream=perhaps"), 400, "stream")
