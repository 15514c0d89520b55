"""A request that the model cannot run fails alone, with its cause, in mid-stream or not."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import asyncio

import httpx
import msgspec
import pytest

from penstock.engine.build import assemble
from penstock.executors.faults import FailFor
from penstock.executors.inline import build_executor
from tests.server import tiny
from tests.server.live import serving
from tests.server.test_bad_input import error
from tests.server.test_end_to_end import tiny_config

POISONED = "cmpl-poison 0"


def build_poisoned(config, report):
    return assemble(config, build_executor(config, fault=FailFor(POISONED)))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    config = tiny_config(tiny.build(tmp_path_factory.mktemp("tiny")))
    model = msgspec.structs.replace(config.model, batch_invariant=True)  # others come and go in the batch
    config = msgspec.structs.replace(config, model=model)
    with serving(None, config, build=f"{__name__}:build_poisoned") as (port, _, _):
        yield f"http://127.0.0.1:{port}"


async def crowd(url, poison):
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        bodies = [
            {"prompt": f"request {number}", "max_tokens": 40, "seed": number, "ignore_eos": True}
            for number in range(32)
        ]
        calls = [client.post("/v1/completions", json=body) for body in bodies]
        if poison:
            body = {"prompt": "bad", "max_tokens": 40, "request_id": "poison"}
            calls.insert(16, client.post("/v1/completions", json=body))
        return await asyncio.gather(*calls)


def test_others_are_answered_as_if_it_had_not_been_there(url):
    alone = asyncio.run(crowd(url, False))
    replies = asyncio.run(crowd(url, True))
    bad = replies.pop(16)
    assert "poisoned" in error(bad, 500, None, "generation_failed")["message"]
    texts = [[reply.json()["choices"][0]["text"] for reply in some] for some in (alone, replies)]
    assert texts[0] == texts[1] and len(set(texts[0])) == 32
    assert httpx.get(f"{url}/load").json()["server_load"] == 0
