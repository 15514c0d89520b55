"""Ending requests from outside, and forgetting cached prefixes: who may, and what the others see."""

import asyncio
import json

import httpx
import msgspec
import pytest

from penstock.server.app import create_app
from penstock.server.principal import Principal
from penstock.server.routes.admin import _names, may_end
from tests.server.fakes import CONFIG, FakeEngine

KEYS = """
[tenants.acme]
[[keys]]
name = "web"
key = "web"
tenant = "acme"
[[keys]]
name = "batch"
key = "batch"
tenant = "acme"
[[keys]]
name = "other"
key = "other"
"""
PATH = "/v1/completions"
pytestmark = pytest.mark.anyio


@pytest.fixture
def engine():
    engine = FakeEngine()
    engine.hold = True
    return engine


@pytest.fixture
async def client(engine, tmp_path):
    (tmp_path / "keys.toml").write_text(KEYS)
    server = msgspec.structs.replace(
        CONFIG.server, keys=str(tmp_path / "keys.toml"), admin_api_key=("boss",), api_key=("plain",)
    )
    app = create_app(engine, msgspec.structs.replace(CONFIG, server=server))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        yield client


def by(key, **more):
    return {"headers": {"Authorization": f"Bearer {key}", **more}}


async def start(client, engine, key, name, **body):
    before = len(engine.asked)
    task = asyncio.create_task(client.post(PATH, json={"prompt": "x", "request_id": name, **body}, **by(key)))
    async with asyncio.timeout(5):
        while len(engine.asked) == before:
            await asyncio.sleep(0.001)
    return task


async def test_a_tenant_ends_its_own_requests_only(client, engine):
    mine = await start(client, engine, "web", "mine")
    theirs = await start(client, engine, "other", "theirs")
    reply = await client.post("/abort", json={"request_ids": ["mine", "theirs", "none"]}, **by("batch"))
    assert reply.json() == {"aborted": ["cmpl-mine"]}
    ended = await mine
    assert ended.status_code == 499 and ended.json()["error"]["code"] == "aborted"
    assert engine.reasons == ["client"] and not theirs.done()
    assert (await client.post("/abort_request", json={"abort_all": True}, **by("web"))).json() == {
        "aborted": []
    }
    reply = await client.post("/abort", json={"all": True}, **by("boss"))
    assert reply.json() == {"aborted": ["cmpl-theirs"]}
    assert (await theirs).status_code == 499 and engine.running == {}


async def test_a_stream_that_is_ended_says_so(client, engine):
    engine.hold = False
    engine.text, engine.delay = "x" * 100_000, 0.001
    task = await start(client, engine, "web", "s", stream=True)
    await asyncio.sleep(0.05)
    reply = await client.post("/abort_requests", json={"request_id": "cmpl-s"}, **by("web"))
    assert reply.json() == {"aborted": ["cmpl-s"]}
    lines = [line for line in (await task).text.split("\n\n") if line]
    assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "aborted"
    assert lines[-1] == "data: [DONE]" and engine.running == {}


async def test_it_must_be_said_which(client):
    reply = await client.post("/abort", json={}, **by("web"))
    assert reply.status_code == 400 and "request_id" in reply.json()["error"]["message"]


async def test_the_cache_is_the_administrators(client, engine):
    done = [True]

    async def reset():
        return done[0]

    engine.reset_prefix_cache = reset
    for path in ("/reset_prefix_cache", "/flush_cache"):
        refused = await client.post(path, **by("web"))
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "admin_required"
        assert (await client.post(path, **by("boss"))).json() == {"success": True}
    done[0] = False
    busy = await client.post("/reset_prefix_cache", **by("boss"))
    assert busy.status_code == 409 and busy.headers["retry-after"] == "1"


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("0.0.0.0", 403)])
async def test_without_any_key_the_own_machine_is_trusted_and_the_network_is_not(host, status):
    engine = FakeEngine()

    async def reset():
        return True

    engine.reset_prefix_cache = reset
    config = msgspec.structs.replace(CONFIG, server=msgspec.structs.replace(CONFIG.server, host=host))
    transport = httpx.ASGITransport(app=create_app(engine, config))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/reset_prefix_cache")).status_code == status
        assert (await client.post("/abort", json={"all": True})).status_code == status
        assert (await client.post("/abort", json={"rid": "x"})).status_code == 200


def test_who_may_end_whose():
    acme, other = Principal(name="a", tenant="acme"), Principal(name="b", tenant="b")
    plain, nobody = Principal(name="api-key-1"), Principal()
    assert may_end(acme, acme) and may_end(plain, plain) and may_end(nobody, nobody)
    for who in (acme, other, plain, nobody):
        assert not any(may_end(who, whose) for whose in (acme, other, plain, nobody) if whose is not who)
        assert may_end(Principal(admin=True), who)


def test_names_of_an_answer():
    assert _names("chatcmpl-ab-c") == ("chatcmpl-ab-c", "ab-c")
    assert "r.x" in _names("cmpl-r.x.2") and "r" not in _names("cmpl-r.x.2")
