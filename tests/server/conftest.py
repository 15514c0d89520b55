import asyncio
import json

import httpx
import pytest

from penstock.server.app import create_app
from tests.server.fakes import CONFIG, FakeEngine


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def config():
    return CONFIG


@pytest.fixture
def call(engine, config):
    """Send one request straight into the application and return httpx's response."""
    app = create_app(engine, config)

    def send(method, path, **kwargs):
        async def go():
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **kwargs)

        return asyncio.run(go())

    return send


@pytest.fixture
def post(call):
    return lambda path, body, **kwargs: call("POST", path, json=body, **kwargs)


def events(response):
    """Return the JSON payloads of a stream; the last must be [DONE]."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]
