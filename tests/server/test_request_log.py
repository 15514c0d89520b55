"""Logs of requests: parameters where they are wanted, text only where that is wanted too, tenants always."""

import logging

import httpx
import msgspec
import pytest

from penstock.server.app import create_app
from tests.server.fakes import CONFIG, FakeEngine

pytestmark = pytest.mark.anyio
SECRET, STOP = "my secret diary", "secret stop"


async def lines(caplog, tmp_path, **settings):
    """Return the records of one request, by logger."""
    path = tmp_path / "keys.toml"
    path.write_text('[[keys]]\nname = "web"\nkey = "sk-123"')
    server = msgspec.structs.replace(CONFIG.server, keys=str(path), **settings)
    app = create_app(FakeEngine(), msgspec.structs.replace(CONFIG, server=server))
    caplog.set_level(logging.DEBUG)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        for path, prompt in (
            ("/v1/completions", {"prompt": SECRET}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": SECRET}]}),
        ):
            reply = await client.post(
                path,
                json={**prompt, "temperature": 0.5, "stop": [STOP], "request_id": "r"},
                headers={"x-api-key": "sk-123", "X-Request-Id": "rid"},
            )
            assert reply.status_code == 200
    shown = [repr(vars(record)) for record in caplog.records]
    assert not any("sk-123" in text for text in shown)
    return caplog.records, any(SECRET in text or STOP in text for text in shown)


async def test_by_default_neither_parameters_nor_text_are_logged(caplog, tmp_path):
    records, shown = await lines(caplog, tmp_path)
    assert not shown and not any(record.name == "penstock.server.requests" for record in records)
    (access, _) = [record for record in records if record.name == "penstock.server.access"]
    assert (access.tenant, access.key, access.request_id) == ("web", "web", "rid")


async def test_parameters_are_logged_without_text(caplog, tmp_path):
    records, shown = await lines(caplog, tmp_path, enable_log_requests=True)
    first, _ = [record for record in records if record.name == "penstock.server.requests"]
    assert not shown and first.id == "cmpl-r" and first.tenant == "web" and first.prompt_tokens == len(SECRET)
    assert first.params["temperature"] == 0.5 and first.params["stop"] == "1 given"


async def test_text_is_logged_where_it_is_asked_for(caplog, tmp_path):
    records, shown = await lines(caplog, tmp_path, enable_log_requests=True, log_prompts=True)
    first, second = [record for record in records if record.name == "penstock.server.requests"]
    assert shown and first.prompt == SECRET and SECRET in second.prompt
