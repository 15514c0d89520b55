"""Batch files through the application: every line gets one answer, whatever it holds."""

import asyncio
import json

import msgspec
import pytest

from penstock.core.errors import Overloaded
from penstock.engine.messages import EngineDead
from penstock.server.app import create_app
from penstock.server.batch import BatchRun, Past
from tests.server.fakes import CONFIG, FakeEngine


def line(custom_id, url="/v1/completions", **body):
    ask = {"custom_id": custom_id, "method": "POST", "url": url, "body": {"prompt": "x", **body}}
    return json.dumps(ask).encode() + b"\n"


def answer(lines, engine=None, past=None, concurrency=3):
    found = []
    app = create_app(engine or FakeEngine(), CONFIG)
    run = BatchRun(app, lambda one: found.append(json.loads(msgspec.json.encode(one))), past)
    return asyncio.run(run.run(lines, concurrency)), found


def test_answers_are_the_endpoints_own():
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    lines = [line("a", max_tokens=2), line("b", "/v1/chat/completions", **chat), line("c", prompt=5)]
    tally, found = answer(lines)
    by_id = {one["custom_id"]: one for one in found}
    assert by_id["a"]["response"]["body"]["choices"][0]["text"] == "He"
    assert by_id["b"]["response"]["body"]["choices"][0]["message"]["content"] == "Hello world"
    assert by_id["c"]["response"]["status_code"] == 400
    assert by_id["c"]["response"]["body"]["error"]["param"] == "prompt"
    assert all(one["error"] is None and one["response"]["request_id"] for one in found)
    assert (tally.answered, tally.failed, tally.malformed) == (2, 1, 0)
    assert tally.completion_tokens == 2 + 11


@pytest.mark.parametrize(
    ("raw", "code", "custom_id"),
    [
        (b"not json\n", "invalid_line", None),
        (b"[1]\n", "invalid_line", None),
        (b'{"custom_id": "m", "url": "/v1/completions"}\n', "invalid_line", "m"),
        (b'{"custom_id": 5, "url": "/v1/completions", "body": {}}\n', "invalid_line", None),
        (b"\xff\xfe\n", "invalid_line", None),
        (b'{"custom_id": "\xff", "url": "/v1/completions", "body": {}}\n', "invalid_line", None),
        (b"[" * 100_000 + b"\n", "invalid_line", None),
        (line("m").replace(b"POST", b"GET"), "invalid_line", "m"),
        (line("m", url="/metrics"), "invalid_url", "m"),
        (line("m", stream=True), "invalid_value", "m"),
        (line("m", background=True), "invalid_value", "m"),
        (line("good"), "duplicate_custom_id", "good"),
    ],
)
def test_a_malformed_line_stops_nothing(raw, code, custom_id):
    tally, found = answer([line("good"), b"\n", raw, line("after")])
    (wrong,) = [one for one in found if one["error"]]
    assert wrong["response"] is None and wrong["custom_id"] == custom_id
    assert (wrong["error"]["code"], wrong["error"]["line"]) == (code, 3)
    assert {one["custom_id"] for one in found if one["response"]} == {"good", "after"}
    assert (tally.answered, tally.malformed) == (2, 1)


def test_what_was_answered_is_not_asked_again():
    engine = FakeEngine()
    past = Past(custom_ids={"a"}, lines={2})
    tally, found = answer([line("a"), b"garbage\n", line("b"), line("a")], engine, past)
    assert len(engine.asked) == 1
    assert [one["custom_id"] for one in found if one["response"]] == ["b"]
    assert [one["error"]["line"] for one in found if one["error"]] == [4]  # said twice in this very file
    assert (tally.answered, tally.malformed, tally.skipped) == (1, 1, 2)


class Counting(FakeEngine):
    most = 0

    async def beat(self, stream):
        self.most = max(self.most, len(self.running))
        await super().beat(stream)


def test_concurrency_is_bounded():
    engine = Counting()
    tally, _ = answer([line(str(number)) for number in range(40)], engine, concurrency=5)
    assert tally.answered == 40 and engine.most == 5


class Full(FakeEngine):
    refusals = 2

    async def submit(self, *args, **kwargs):
        if self.refusals:
            self.refusals -= 1
            raise Overloaded("full", 0.01)
        return await super().submit(*args, **kwargs)


def test_a_full_engine_is_waited_for(monkeypatch):
    monkeypatch.setattr("penstock.server.batch._LONGEST_WAIT", 0.01)
    tally, found = answer([line("a"), line("b")], Full())
    assert tally.answered == 2 and len(found) == 2


class Mortal(FakeEngine):
    """Dies under a prompt and is started again."""

    def __init__(self, prompt, times):
        super().__init__()
        self.prompt, self.times, self.restarts = prompt, times, 0

    def health(self):
        return msgspec.structs.replace(super().health(), restarts=self.restarts)

    async def submit(self, prompt, *args, **kwargs):
        stream = await super().submit(prompt, *args, **kwargs)
        kills = stream.prompt == self.prompt and self.times > 0
        self.times -= kills
        self.restarts += kills
        self.fail_at = 0 if kills else None
        return stream


@pytest.mark.parametrize(("times", "status"), [(2, 200), (9, 500)])
def test_a_request_under_which_the_engine_died_is_asked_again_but_not_for_ever(monkeypatch, times, status):
    monkeypatch.setattr("penstock.server.batch._AFTER_DEATH", 0.01)
    engine = Mortal("poison", times)
    _, found = answer([line("bad", prompt="poison"), line("good")], engine, concurrency=1)
    statuses = {one["custom_id"]: one["response"]["status_code"] for one in found}
    assert statuses == {"bad": status, "good": 200}
    assert len(engine.asked) == 1 + min(times + 1, 4)


def test_a_dead_engine_ends_the_run_and_blames_no_line():
    engine = FakeEngine()
    engine.state, engine.cause = "dead", "out of luck"
    found = []
    run = BatchRun(create_app(engine, CONFIG), found.append)
    with pytest.raises(EngineDead, match="out of luck"):
        asyncio.run(run.run([line("a"), line("b")], 2))
    assert found == []
