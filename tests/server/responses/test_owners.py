"""Whose stored responses are whose, over HTTP with keys."""

import asyncio

import httpx
import msgspec
import pytest

from penstock.server.app import create_app
from tests.server.fakes import CONFIG, FakeEngine

URL = "/v1/responses"
KEYS = """
[tenants.red]
[tenants.blue]
[[keys]]
name = "red-old"
key = "red-key-number-one"
tenant = "red"
[[keys]]
name = "red-new"
key = "red-key-number-two"
tenant = "red"
[[keys]]
name = "blue"
key = "blue-key-number-one"
tenant = "blue"
"""


@pytest.fixture
def ask(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(KEYS)
    path.chmod(0o600)
    engine = FakeEngine()
    app = create_app(
        engine, msgspec.structs.replace(CONFIG, server=msgspec.structs.replace(CONFIG.server, keys=str(path)))
    )

    def send(key, method, url, **kwargs):
        async def go():
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app), base_url="http://test", headers=headers
            ) as client:
                return await client.request(method, url, **kwargs)

        return asyncio.run(go())

    return engine, send


def test_a_tenants_keys_share_and_others_learn_nothing(ask):
    engine, send = ask
    made = send("red-key-number-one", "POST", URL, json={"input": "secret"})
    assert made.status_code == 200, made.text
    name = made.json()["id"]
    assert send("red-key-number-two", "GET", f"{URL}/{name}").json() == made.json()
    going_on = {"input": "x", "previous_response_id": name}
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")
    ):  # fmt: skip
        other = send("blue-key-number-one", method, f"{URL}/{name}{path}")
        absent = send("blue-key-number-one", method, f"{URL}/resp_{'0' * 32}{path}")
        assert other.status_code == absent.status_code == 404
        assert other.json()["error"]["code"] == absent.json()["error"]["code"]
    assert send("blue-key-number-one", "POST", URL, json=going_on).status_code == 400
    assert send("red-key-number-two", "POST", URL, json=going_on).status_code == 200
    assert len(engine.asked) == 2 and engine.asked[1][2].tenant == "red"


def test_a_messages_user_is_the_tenant_only_where_the_key_has_none(ask, post, engine):
    body = {
        "model": "fake", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
        "metadata": {"user_id": "ann"},
    }  # fmt: skip
    keyed, send = ask
    assert send("red-key-number-one", "POST", "/v1/messages", json=body).status_code == 200
    assert keyed.asked[0][2].tenant == "red"
    assert post("/v1/messages", body).status_code == 200
    assert engine.asked[0][2].tenant == "ann"
