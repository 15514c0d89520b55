"""The step trace of an engine is a file that Chrome's format describes, bounded, and harmless."""

import json
from collections import Counter
from itertools import pairwise

import pytest

from penstock.config.settings import Config, ObserveConfig, ScheduleConfig
from penstock.core.errors import ConfigError
from penstock.core.executor import ExecutorSpec
from penstock.core.request import RequestSpec, SamplingParams
from penstock.engine.build import assemble
from penstock.engine.trace import StepTrace
from penstock.testing.fake_executor import FakeExecutor

SPEC = ExecutorSpec(slots=4, blocks=30, page_size=4, max_model_len=128, vocab_size=380)


def config(path, most=10**6):
    observe = ObserveConfig(trace_steps=str(path), trace_steps_bytes=most)
    return Config(observe=observe, schedule=ScheduleConfig(max_num_batched_tokens=16))


def work(core, count=6, tokens=30):
    for i in range(count):
        sampling = SamplingParams(max_tokens=tokens, ignore_eos=True)
        prompt = tuple(range(i, i + 8))
        core.submit(RequestSpec(id=f"r{i}", prompt_ids=prompt, sampling=sampling, tenant=f"t{i % 2}"))
    while core.has_work():
        core.tick()


def traced(path, **more):
    core = assemble(config(path, **more), FakeExecutor(SPEC)).core
    work(core)
    core.close()
    return core


def check(events):
    """What any reader of the format relies on."""
    for event in events:
        assert {"name", "ph", "pid", "ts"} <= event.keys() and event["ph"] in "XbenCM"
        assert event["ph"] != "X" or event["dur"] > 0
        assert event["ph"] not in "ben" or {"id", "cat"} <= event.keys()
        assert event["ph"] != "C" or all(value >= 0 for value in event["args"].values())


def test_a_run_is_told_whole(tmp_path):
    core = traced(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())
    check(events)
    steps = [event for event in events if event["ph"] == "X"]
    assert [step["args"]["ticket"] for step in steps] == list(range(1, core.stats().steps + 1))
    assert sum(step["args"]["tokens"] for step in steps) == core.stats().step_tokens
    for one, after in pairwise(steps):
        assert one["ts"] + one["dur"] <= after["ts"] + 0.002, "steps of depth 0 do not overlap"
    opened = Counter((event["name"], event["ph"]) for event in events if event["ph"] in "be")
    assert set(opened) == {(n, p) for n in ("request", "waiting", "prefill", "decode") for p in "be"}
    assert set(opened.values()) == {6}
    whole = [event for event in events if event["name"] == "request" and event["ph"] == "b"]
    assert {event["args"]["tenant"] for event in whole} == {"t0", "t1"}
    assert {event["args"]["reason"] for event in whole} == {"length"}
    preempted = [event for event in events if event["name"] == "preempted"]
    assert len(preempted) == core.stats().preemptions > 0
    loads = [event["args"] for event in events if event["name"] == "requests"]
    assert max(load["running"] for load in loads) == 4 and max(load["waiting"] for load in loads) >= 2


def test_a_full_file_makes_room_for_the_next(tmp_path):
    traced(tmp_path / "t.json", most=5000)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["t.json", "t.json.1"]
    for name in files:
        assert (tmp_path / name).stat().st_size < 5000 + 2000
        check(json.loads((tmp_path / name).read_text()))


def test_an_earlier_trace_is_kept_once(tmp_path):
    (tmp_path / "t.json").write_text("of the engine that died")
    traced(tmp_path / "t.json")
    assert (tmp_path / "t.json.1").read_text() == "of the engine that died"


def test_what_a_crash_left_can_be_read(tmp_path):
    core = assemble(config(tmp_path / "t.json"), FakeExecutor(SPEC)).core
    work(core)
    core.recorder.listener._file.flush()  # the process dies here
    text = (tmp_path / "t.json").read_text()
    check(json.loads(text + "]"))  # readers of the array form add what is missing


def test_a_full_disk_ends_the_trace_and_nothing_else(caplog):
    core = assemble(config("/dev/full"), FakeExecutor(SPEC)).core if _has_full() else None
    if core is None:
        pytest.skip("this system has no /dev/full")
    work(core)
    core.close()
    assert core.stats().finished["length"] == 6
    assert sum("step trace ends here" in record.message for record in caplog.records) == 1


def _has_full():
    from pathlib import Path

    return Path("/dev/full").exists()


def test_a_file_that_cannot_be_written_names_the_setting(tmp_path):
    with pytest.raises(ConfigError, match="trace_steps"):
        StepTrace(str(tmp_path / "no" / "folder" / "t.json"), 10**6)
