"""Times that are up: what the client is told, what the engine is told, and that nothing goes on."""

import asyncio
import json

import httpx
import msgspec
import pytest

from penstock.server.app import create_app
from tests.server.fakes import CONFIG, FakeEngine

pytestmark = pytest.mark.anyio
PATH = "/v1/completions"


def client(engine, **settings):
    config = msgspec.structs.replace(CONFIG, server=msgspec.structs.replace(CONFIG.server, **settings))
    app = create_app(engine, config)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("settings", "body", "code"),
    [
        ({"request_timeout": 0.05}, {}, "deadline_exceeded"),
        ({"request_timeout": 60.0}, {"timeout_ms": 50}, "deadline_exceeded"),
        ({"request_timeout": 0.05}, {"timeout_ms": 60_000}, "deadline_exceeded"),
        ({"queue_timeout": 0.05}, {}, "queue_timeout"),
    ],
)
async def test_what_has_no_token_in_time_is_a_504(settings, body, code, stream):
    engine = FakeEngine()
    engine.hold = True
    async with client(engine, **settings) as http:
        reply = await http.post(PATH, json={"prompt": ["x", "y"], "stream": stream, **body})
    assert reply.status_code == 504 and reply.json()["error"]["code"] == code
    assert engine.running == {} and engine.reasons == ["deadline"] * 2


async def test_a_stream_that_is_too_long_ends_with_an_error_event():
    engine = FakeEngine("x" * 100_000)
    engine.delay = 0.002
    async with client(engine, request_timeout=0.1, queue_timeout=0.05) as http:
        reply = await http.post(PATH, json={"prompt": "x", "stream": True})
    lines = [line for line in reply.text.split("\n\n") if line]
    assert reply.status_code == 200 and len(lines) > 2 and lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert sum('"error"' in line for line in lines) == 1
    assert engine.running == {} and engine.reasons == ["deadline"]


async def test_an_engine_that_does_not_even_admit_is_given_up_on():
    engine = FakeEngine()

    async def submit(*args, **kwargs):
        await asyncio.sleep(3600)

    engine.submit = submit
    async with client(engine, queue_timeout=0.05) as http:
        reply = await http.post(PATH, json={"prompt": "x"})
    assert reply.status_code == 504 and reply.json()["error"]["code"] == "queue_timeout"


async def test_in_time_nothing_is_heard_of_the_times():
    engine = FakeEngine()
    async with client(engine, request_timeout=5.0, queue_timeout=5.0) as http:
        reply = await http.post(PATH, json={"prompt": "x", "timeout_ms": 5000})
    assert reply.status_code == 200 and engine.reasons == []
