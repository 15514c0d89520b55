"""Recorded traffic: equal lengths and equal sharing when read back, and no text, on the real tiny engine's
front."""

import json
import logging
from pathlib import Path

import pytest

from penstock.config.settings import Config, ModelConfig, ServerConfig
from penstock.core.errors import ConfigError, InvalidRequest
from penstock.core.output import Finish, FinishReason, Output
from penstock.core.request import RequestSpec
from penstock.frontend.async_engine import AsyncEngine
from penstock.frontend.outputs import collect
from penstock.frontend.prompts import RequestOptions
from penstock.frontend.traffic import TrafficRecorder
from penstock.workload.readers.lines import ReadReport
from penstock.workload.readers.open import read_requests

pytestmark = pytest.mark.anyio
GREEDY = {"temperature": 0.0, "ignore_eos": True}
SHARED = "the quick brown fox jumps over the lazy dog and runs away "


def settings(folder, path):
    return Config(
        model=ModelConfig(model=str(folder)), server=ServerConfig(inproc=True, record_traffic=str(path))
    )


async def test_a_run_is_read_back_without_its_text(model_folder, tmp_path):
    path = tmp_path / "traffic.jsonl"
    options = RequestOptions(tenant="alice@example.org", program="secret-agent", priority=3, weight=2.0)
    async with await AsyncEngine.start(settings(model_folder, path), build="fake_engine:build") as engine:
        first = await collect(
            engine.generate(
                SHARED + "first", {**GREEDY, "max_tokens": 40}, request_id="mine", options=options
            )
        )
        ids, answer = first.prompt_token_ids, first.outputs[0].token_ids
        await collect(engine.generate(SHARED + "second", {**GREEDY, "max_tokens": 7}))
        await collect(engine.generate([*ids, *answer, 9, 9], {**GREEDY, "max_tokens": 5}, options=options))
        with pytest.raises(InvalidRequest):
            await engine.submit("x", {"top_p": 2})
        prompts = [len(ids), len(engine.tokenizer.encode(SHARED + "second")), len(ids) + 42]
        common = shared_tokens(ids, engine.tokenizer.encode(SHARED + "second"))

    a, b, c = read_requests(str(path))
    assert [r.prompt_tokens for r in (a, b, c)] == prompts
    assert [r.output_tokens for r in (a, b, c)] == [40, 7, 5]
    assert (a.priority, a.weight, a.max_tokens) == (3, 2.0, 40)
    assert a.tenant == c.tenant != b.tenant == "default"
    assert a.program == c.program is not None
    assert a.arrival <= b.arrival <= c.arrival
    assert shared_tokens(a.prompt_ids(), b.prompt_ids()) == common // 16 * 16 >= 16
    said = a.prompt_ids() + tuple(range(a.output_stream << 20, (a.output_stream << 20) + 40))
    assert shared_tokens(said, c.prompt_ids()) == len(said) // 16 * 16

    text = path.read_text()
    for secret in ("quick", "alice", "example", "agent", "mine", "first"):
        assert secret not in text
    for line in map(json.loads, text.splitlines()):
        assert set(line) <= {
            *("id", "arrival", "prompt_tokens", "output_tokens", "page", "pages", "finish", "ttft", "e2el"),
            *("cached_tokens", "max_tokens", "tenant", "weight", "priority", "program"),
        }
        assert all(isinstance(page, str) and len(page) == 20 for page in line["pages"])
        assert 0 < line["ttft"] <= line["e2el"]


def shared_tokens(one, two):
    count = 0
    while count < min(len(one), len(two)) and one[count] == two[count]:
        count += 1
    return count


async def test_abandoned_requests_are_marked_and_not_replayed(model_folder, tmp_path):
    path = tmp_path / "traffic.jsonl"
    async with await AsyncEngine.start(
        settings(model_folder, path), build="fake_engine:build_slow"
    ) as engine:
        stream = await engine.submit("hello", {**GREEDY, "max_tokens": 500})
        await anext(stream)
        stream.close()
        await collect(engine.generate("hello", {**GREEDY, "max_tokens": 2, "n": 2}))
    report = ReadReport()
    assert [r.output_tokens for r in read_requests(str(path), report=report)] == [2, 2]
    assert report.dropped == {"ended by abort": 1}


async def test_a_place_that_cannot_be_written_is_refused_before_anything_starts(model_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"server\.record_traffic: cannot write"):
        await AsyncEngine.start(
            settings(model_folder, tmp_path / "none" / "x.jsonl"), build="fake_engine:build"
        )


def finished(name):
    return Output(name, tokens=(1, 2), finish=Finish(FinishReason.LENGTH))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_said_once_and_stops_the_recording(caplog):
    recorder = TrafficRecorder("/dev/full")
    with caplog.at_level(logging.ERROR):
        for number in range(3000):
            recorder.opened([RequestSpec(id=str(number), prompt_ids=tuple(range(64)))])
            recorder.took(finished(str(number)))
        recorder.close()
    assert recorder.stopped
    assert len([r for r in caplog.records if "stops" in r.message]) == 1
    recorder.opened([RequestSpec(id="late", prompt_ids=(1,))])
    recorder.took(finished("late"))
    recorder.close()


def test_refused_requests_leave_nothing(tmp_path):
    recorder = TrafficRecorder(str(tmp_path / "t.jsonl"))
    recorder.opened([RequestSpec(id="a", prompt_ids=(1,)), RequestSpec(id="b", prompt_ids=(1,))])
    recorder.refused(["a"])
    recorder.took(finished("a"))
    recorder.took(finished("b"))
    recorder.close()
    recorder.close()
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 1


def test_namespaces_share_nothing(tmp_path):
    path = tmp_path / "t.jsonl"
    recorder = TrafficRecorder(str(path))
    for name, space in (("a", ""), ("b", ""), ("c", "mine")):
        recorder.opened([RequestSpec(id=name, prompt_ids=tuple(range(32)), cache_namespace=space)])
        recorder.took(finished(name))
    recorder.close()
    a, b, c = read_requests(str(path))
    assert a.prompt_ids() == b.prompt_ids()
    assert not set(a.prompt_ids()) & set(c.prompt_ids())
