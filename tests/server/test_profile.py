"""Profiles: who may make them, when they cannot be made, and what torch writes of real work."""

import gzip
import json

import httpx
import msgspec
import pytest
import torch

from penstock.runtime.profile import Profiler
from penstock.server.app import create_app
from tests.server.fakes import CONFIG, FakeEngine


class Profiled(FakeEngine):
    """An engine that notes whether a profile is being made."""

    running = False

    async def start_profile(self):
        was, self.running = self.running, True
        return not was

    async def stop_profile(self):
        was, self.running = self.running, False
        return "/profiles/steps.json.gz" if was else ""


def client(folder="/profiles"):
    server = msgspec.structs.replace(CONFIG.server, admin_api_key=("boss",), api_key=("plain",))
    observe = msgspec.structs.replace(CONFIG.observe, profile_folder=folder)
    app = create_app(Profiled(), msgspec.structs.replace(CONFIG, server=server, observe=observe))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


async def call(http, name, key="boss"):
    reply = await http.post(f"/{name}_profile", headers={"Authorization": f"Bearer {key}"})
    return reply.status_code, reply.json().get("error", {}).get("code") or reply.json()


@pytest.mark.anyio
async def test_an_administrator_makes_one_at_a_time():
    async with client() as http:
        assert await call(http, "start", "plain") == (403, "admin_required")
        assert await call(http, "stop") == (409, "no_profile")
        assert await call(http, "start") == (200, {"success": True})
        assert await call(http, "start") == (409, "profile_running")
        assert await call(http, "stop", "plain") == (403, "admin_required")
        assert await call(http, "stop") == (200, {"path": "/profiles/steps.json.gz"})


@pytest.mark.anyio
async def test_without_a_folder_there_are_none():
    async with client("") as http:
        assert await call(http, "start") == await call(http, "stop") == (409, "profile_off")


def events(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return {event.get("name") for event in json.load(file)["traceEvents"]}


def test_what_is_recorded_is_written_and_a_long_record_ends_by_itself(tmp_path):
    now = [0.0]
    profiler = Profiler(str(tmp_path / "new"), seconds=5.0, now=lambda: now[0])
    assert profiler.stop() == ""
    assert profiler.start() and not profiler.start()
    torch.ones(8, 8) @ torch.ones(8, 8)
    profiler.step()
    assert "aten::matmul" in events(profiler.stop())
    assert profiler.start()
    now[0] = 5.1
    profiler.step()
    assert profiler.stop() == "" and len(list((tmp_path / "new").iterdir())) == 2


def test_a_folder_that_cannot_be_written_costs_the_profile_alone(tmp_path):
    (tmp_path / "file").touch()
    profiler = Profiler(str(tmp_path / "file"), seconds=5.0)
    assert profiler.start()
    assert profiler.stop() == ""
    assert profiler.start()
    profiler.stop()
