"""The page at /docs: every endpoint and field, no address of another server, nothing that runs."""

import re

import httpx
import msgspec
import pytest

from penstock.server.app import create_app
from penstock.server.reference import page
from tests.server.fakes import CONFIG, FakeEngine


@pytest.mark.anyio
async def test_the_page_is_whole_and_needs_nobody():
    server = msgspec.structs.replace(CONFIG.server, api_key=("secret",))
    app = create_app(FakeEngine(), msgspec.structs.replace(CONFIG, server=server))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as http:
        reply = await http.get("/docs")
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/html")
    for path in app.openapi()["paths"]:
        assert f" {path}</code>" in reply.text
    assert "<code>ResponseFormat</code>" in reply.text
    assert "temperature" in reply.text and "number (≥ 0" in reply.text
    assert not re.search(r"<script|https?://|@import", reply.text)
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_texts_are_no_markup():
    operation = {"summary": "<b>", "responses": {"200": {"description": "<i>"}}, "parameters": [
        {"name": "<u>", "in": "query", "schema": {"enum": ["<s>"]}, "description": "<p>"}]}  # fmt: skip
    html = page({
        "info": {"title": "<t>", "version": "1"},
        "paths": {"/<x>": {"get": operation}},
        "components": {"schemas": {}},
    })  # fmt: skip
    assert not any(mark in html for mark in ("<b>", "<i>", "<u>", "<s>", "<t>", "<x>"))
