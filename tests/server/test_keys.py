"""Keys: the file that names them, what is refused in it, reading it again, and what a key entitles to."""

import logging
import os
from pathlib import Path

import httpx
import msgspec
import pytest

from penstock.core.errors import ConfigError
from penstock.server.app import create_app
from penstock.server.keys import digest, load_keys, parse_keys
from penstock.server.keystore import KeyStore, is_loopback, key_store
from penstock.server.principal import Limits
from tests.server.fakes import CONFIG, FakeEngine

GOOD = f"""
[tenants.acme]
weight = 2
priority = -1
tokens_per_minute = 1000
concurrent_requests = 3

[[keys]]
name = "acme-web"
key = "sk-web"
tenant = "acme"
requests_per_minute = 5

[[keys]]
name = "ops"
sha256 = "{digest("sk-ops").hex()}"
admin = true
weight = 0.5
expires = 2030-01-01
"""


def test_a_file_gives_principals():
    ring = parse_keys(GOOD)
    web, ops = ring[digest("sk-web")].principal, ring[digest("sk-ops")].principal
    assert (web.name, web.tenant, web.weight, web.priority, web.admin) == ("acme-web", "acme", 2.0, -1, False)
    assert web.limits == Limits(tokens_per_minute=1000, concurrent_requests=3)
    assert web.key_limits == Limits(requests_per_minute=5)
    assert (ops.tenant, ops.weight, ops.priority, ops.admin) == ("ops", 0.5, 0, True)
    assert ring[digest("sk-ops")].expires == 1893456000.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[keys]]\nname = x\n", "line 2"),
        ('[[keys]]\nkey = "x"', "keys[0]: Object missing required field `name`"),
        ('[[keys]]\nname = "a"\nkey = "secret"\nweight = 0', "keys[0] weight: Expected `float` > 0"),
        (
            '[[keys]]\nname = "a"\nkey = "secret"\nrequests_per_minute = 0',
            "keys[0] requests_per_minute: Expected `int` >= 1",
        ),
        ('[[keys]]\nname = "a"\nkey = "secret"\nlimit = 3', "unknown field `limit`"),
        ('[[keys]]\nname = "a"', "either 'key' or 'sha256'"),
        ('[[keys]]\nname = "a"\nsha256 = "secret"', "64 hexadecimal digits"),
        ('[[keys]]\nname = "a"\nkey = "secret"\ntenant = "b"', "there is no table [tenants.b]"),
        (
            '[[keys]]\nname = "a"\nkey = "secret"\n[[keys]]\nname = "a"\nkey = "other"',
            "another key has this name",
        ),
        (
            '[[keys]]\nname = "a"\nkey = "secret"\n[[keys]]\nname = "b"\nkey = "secret"',
            "same key as that of 'a'",
        ),
        ('[key]\nname = "a"', "got 'key'"),
        ("keys = 3", "expected [[keys]]"),
        ("tenants = 3", "expected [[keys]]"),
        ("[tenants]\na = 3", "[tenants.a]: Expected `object`"),
        ("[tenants.acme]\nmax_tokens = 0", "[tenants.acme] max_tokens: Expected `int` >= 1"),
    ],
)
def test_a_bad_file_is_refused_with_line_or_field_and_without_the_key(text, says):
    with pytest.raises(ConfigError) as caught:
        parse_keys(text, "keys.toml")
    assert says in str(caught.value) and "keys.toml" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_keys(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_keys(tmp_path / "bad.toml")


def write(path, text):
    """Replace a file as careful editors do, so that it is seen whole or not at all."""
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def test_a_changed_file_is_taken_over_and_a_broken_one_is_not(tmp_path, caplog):
    path = tmp_path / "keys.toml"
    path.write_text(GOOD)
    store = KeyStore({}, path, None)
    assert store.find("sk-web").name == "acme-web" and store.find("sk-new") is None
    assert store.reload() is False

    write(path, '[[keys]]\nname = "new"\nkey = "sk-new"')
    assert store.reload() is True
    assert store.find("sk-new").tenant == "new" and store.find("sk-web") is None

    write(path, "[[keys]]\nname = 3")
    with caplog.at_level(logging.ERROR):
        assert store.reload() is False
    assert "the old keys still hold" in caplog.text and "keys[0] name" in caplog.text
    assert store.find("sk-new") is not None
    path.unlink()
    assert store.reload() is False and store.find("sk-new") is not None


def test_whoever_follows_hears_of_the_tenants_at_once_and_after_changes(tmp_path):
    path, heard = tmp_path / "keys.toml", []
    path.write_text('[[keys]]\nname = "one"\nkey = "a"\n[[keys]]\nname = "two"\nkey = "b"\n')
    store = KeyStore(path=path)
    store.follow(heard.append)
    path.write_text('[[keys]]\nname = "three"\nkey = "a"\n')
    store.reload(force=True)
    path.write_text("broken")
    store.reload(force=True)
    assert heard == [{"one", "two"}, {"three"}]


def test_keys_expire(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(GOOD)
    now = [1893456000.0 - 1]
    store = KeyStore({}, path, None, lambda: now[0])
    assert store.find("sk-ops") is not None
    now[0] += 1
    assert store.find("sk-ops") is None and store.find("sk-web") is not None


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("a.b", False),
    ],
)
def test_loopback(host, local):
    assert is_loopback(host) is local


@pytest.mark.parametrize(
    ("settings", "admin"),
    [
        ({}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "uds": "/tmp/x"}, True),
        ({"admin_api_key": ("boss",)}, False),
    ],
)
def test_who_nobody_is(settings, admin):
    assert key_store(msgspec.structs.replace(CONFIG.server, **settings)).anonymous.admin is admin


def client_of(engine, **settings):
    config = msgspec.structs.replace(CONFIG, server=msgspec.structs.replace(CONFIG.server, **settings))
    app = create_app(engine, config)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


@pytest.mark.anyio
async def test_the_key_says_who_asks(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(GOOD)
    engine = FakeEngine()
    body = {"prompt": "x", "tenant": "other", "user": "u", "weight": 9, "priority": -5}
    async with client_of(engine, keys=str(path), api_key=("plain",), admin_api_key=("boss",)) as client:

        async def ask(**headers):
            reply = await client.post("/v1/completions", json=body, headers=headers)
            return reply.status_code

        assert await ask() == 401
        assert await ask(Authorization="Bearer nonsense") == 401
        assert await ask(Authorization="Basic sk-web") == 401
        assert await ask(Authorization="Bearer sk-web") == 200
        assert await ask(**{"x-api-key": "sk-web"}) == 200
        assert await ask(Authorization="bearer sk-ops") == 200
        assert await ask(Authorization="Bearer plain") == 200
        assert await ask(Authorization="Bearer boss") == 200
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/health", headers={"Authorization": "Bearer old"})).status_code == 200
    chosen = [(options.tenant, options.weight, options.priority) for _, _, options in engine.asked]
    own = ("other", 9, -5)
    assert chosen == [("acme", 2.0, -1), ("acme", 2.0, -1), own, own, own]


@pytest.mark.anyio
async def test_a_keyed_tenant_may_be_more_patient_but_not_more_urgent(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(GOOD)
    engine = FakeEngine()
    async with client_of(engine, keys=str(path)) as client:
        for priority in (None, -9, -1, 4):
            body = {"prompt": "x", "priority": priority, "cache_salt": "s"}
            await client.post("/v1/completions", json=body, headers={"x-api-key": "sk-web"})
    assert [options.priority for _, _, options in engine.asked] == [-1, -1, -1, 4]


@pytest.mark.anyio
async def test_private_caches_cannot_be_entered_by_a_salt(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(
        '[tenants.p]\nprivate_cache = true\n[[keys]]\nname = "a"\ntenant = "p"\nkey = "a"\n'
        '[[keys]]\nname = "b"\nkey = "b"\n'
    )
    engine = FakeEngine()
    async with client_of(engine, keys=str(path)) as client:
        await client.post("/v1/completions", json={"prompt": "x"}, headers={"x-api-key": "a"})
        private = engine.asked[-1][2].cache_namespace
        assert private
        for salt in (None, private, "tenant:p"):
            await client.post(
                "/v1/completions", json={"prompt": "x", "cache_salt": salt}, headers={"x-api-key": "b"}
            )
            assert engine.asked[-1][2].cache_namespace != private


def test_the_example_can_be_used():
    ring = load_keys(Path(__file__).parents[2] / "examples" / "keys.toml")
    assert {held.principal.name: held.principal.tenant for held in ring.values()} == {
        "web": "interactive", "web-trial": "interactive", "nightly": "batch", "ops": "ops",
    }  # fmt: skip
