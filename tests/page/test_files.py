"""What is sent for the page: headers, revalidation, nothing inline or from elsewhere. Needs no browser."""

import asyncio
import re

import httpx
import msgspec
import pytest

from penstock.server.app import create_app
from penstock.server.page import FOLDER, assets
from tests.server.fakes import CONFIG, FakeEngine

LOCKED = msgspec.structs.replace(CONFIG, server=msgspec.structs.replace(CONFIG.server, api_key=("secret",)))


def ask(method, path, config=CONFIG, **kwargs):
    async def go():
        transport = httpx.ASGITransport(app=create_app(FakeEngine(), config))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **kwargs)

    return asyncio.run(go())


def test_page_and_files_are_sent_safely():
    for path, asset in assets().items():
        reply = ask("GET", path)
        assert reply.status_code == 200 and reply.content == asset.content
        assert reply.headers["content-type"] == asset.media_type
        assert reply.headers["x-content-type-options"] == "nosniff"
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert "frame-ancestors 'none'" in policy and "require-trusted-types-for 'script'" in policy
    assert {"/", "/page/main.js", "/page/base.css", "/page/logo.svg"} <= set(assets())


def test_unchanged_files_are_not_sent_again():
    etag = ask("GET", "/page/main.js").headers["etag"]
    again = ask("GET", "/page/main.js", headers={"If-None-Match": etag})
    assert again.status_code == 304 and not again.content and again.headers["etag"] == etag
    assert ask("GET", "/page/main.js", headers={"If-None-Match": '"other"'}).status_code == 200
    head = ask("HEAD", "/")
    assert head.status_code == 200 and not head.content


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/__init__.py", "/page/README.md", "/page/..%2fapp.py"]
)
def test_nothing_else_is_sent(path):
    reply = ask("GET", path)
    assert reply.status_code == 404 and reply.json()["error"]["message"]


def test_the_page_needs_no_key_but_its_data_do():
    for path in assets():
        assert ask("GET", path, LOCKED).status_code == 200
    for path in ("/live/state", "/live/events", "/v1/models"):
        assert ask("GET", path, LOCKED).status_code == 401
    assert ask("GET", "/page/none.js", LOCKED).status_code == 401


def test_nothing_inline_and_nothing_from_elsewhere():
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|//[a-z]", html)
    for name in re.findall(r'(?:src|href)="(page/[^"]+)"', html):
        assert f"/{name}" in assets()
    for path, asset in assets().items():
        text = asset.content.decode()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), path
        assert not re.search(r"(?:import|@import|url\()\s*[\"']?(?:https?:)?//", text), path


def test_every_module_that_is_imported_is_there():
    for path, asset in assets().items():
        for name in re.findall(r'from "\./([^"]+)"', asset.content.decode()):
            assert f"/page/{name}" in assets(), f"{path} imports {name}"


def test_every_id_that_the_scripts_name_is_in_the_page():
    html = (FOLDER / "index.html").read_text()
    for path, asset in assets().items():
        for name in re.findall(r'byId\("([^"]+)"\)', asset.content.decode()):
            assert f'id="{name}"' in html, f"{path} looks for #{name}"
