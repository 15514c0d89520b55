"""Adapters' processes: orders and answers, and every way in which an engine can fail."""

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks.peers.engines import PEERS, Peer, Unavailable, Variant
from benchmarks.peers.environments import interpreter
from benchmarks.peers.figures import check
from benchmarks.peers.models import SHAPES
from benchmarks.peers.process import Adapter, AdapterError, tree_peak
from benchmarks.peers.runner import Ready, Setup, prepare, run_cell, settings_for
from benchmarks.peers.workloads import WARM_UP, WORKLOADS, build, write

FAKE = Path(__file__).with_name("fake_adapter.py")


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(kind):
        adapter = Adapter([sys.executable, str(FAKE), kind], tmp_path / "log", {})
        started.append(adapter)
        return adapter

    yield begin
    for adapter in started:
        adapter.close()


def load(adapter):
    return adapter.ask(20, op="load", model="folder", settings={"threads": 2})


def test_load_run_quit(start, tmp_path):
    adapter = start("fine")
    loaded = load(adapter)
    assert loaded["details"] == {"model": "folder", "threads": 2}
    assert loaded["ready"] >= 0 and set(loaded["versions"]) == {"python", "pytest"}
    workload = WORKLOADS["W3s"]
    path = write(workload, tmp_path)
    answer = adapter.ask(20, op="run", workload=str(path))
    content = build(workload)
    check(content, answer["requests"])
    first = answer["requests"][0]
    assert all(one["sent"] >= first["times"][-1] for one in answer["requests"][1:]), "waves follow each other"
    assert answer["seconds"] >= max(one["times"][-1] for one in answer["requests"])
    assert (adapter.peak_memory() or 0) > 2**20 or not Path("/proc/self/status").exists()
    assert adapter.ask(5, op="quit") == {"bye": True}
    with pytest.raises(AdapterError, match="ended with status 0"):
        adapter.ask(5, op="run", workload=str(path))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("broken", "ValueError: no such model"),
        ("dies", "ended with status 3 at 'run'; its last words: these are the last words"),
        ("hangs", "no answer to 'run' after 0.5 s"),
        ("short", "tokens, .* were asked for"),
        ("missing", "ended with status"),
    ],
)
def test_a_failure_is_a_reason_and_not_the_end(monkeypatch, tmp_path, kind, reason):
    script = FAKE if kind != "missing" else tmp_path / "nowhere.py"
    monkeypatch.setattr(
        Setup,
        "adapter",
        lambda self, variant, python: Adapter([python, str(script), kind], self.logs / "x", {}),
    )
    setup = Setup(1, 0.5 if kind == "hangs" else 20, SHAPES, write(WARM_UP, tmp_path), tmp_path)
    if kind == "hangs":
        # Only the run hangs; loading gets its time.
        original = Adapter.ask
        monkeypatch.setattr(
            Adapter, "ask", lambda self, s, **o: original(self, 20 if o["op"] == "load" else s, **o)
        )
    ready = Ready(Variant(Peer("fake", "-", "")), sys.executable, {"T": "folder"})
    cell = run_cell(ready, WORKLOADS["tiny"], write(WORKLOADS["tiny"], tmp_path), setup)
    assert cell["figures"] is None
    assert re.search(reason, cell["reason"])


def test_an_engine_that_tells_only_ends_has_no_latencies(monkeypatch, tmp_path):
    monkeypatch.setattr(
        Setup,
        "adapter",
        lambda self, variant, python: Adapter([python, str(FAKE), "ends-only"], self.logs / "x", {}),
    )
    setup = Setup(1, 20, SHAPES, write(WARM_UP, tmp_path), tmp_path)
    ready = Ready(Variant(Peer("fake", "-", "")), sys.executable, {"T": "folder"})
    figures = run_cell(ready, WORKLOADS["tiny"], write(WORKLOADS["tiny"], tmp_path), setup)["figures"]
    assert figures["ttft"] is None and figures["itl"] is None and figures["total_tps"] > 0
    assert figures["start"] > 0


def test_conversion_is_done_once(monkeypatch, tmp_path):
    asked = []

    def adapter(self, variant, python):
        asked.append(variant.label)
        return Adapter([python, str(FAKE), "fine"], self.logs / "x", {})

    monkeypatch.setattr(Setup, "adapter", adapter)
    setup = Setup(1, 20, SHAPES, tmp_path / "w", tmp_path)
    variant = Variant(Peer("fake", "-", "", converts=True), "int8")
    model = tmp_path / "T-0"
    into = prepare(variant, sys.executable, model, setup)
    assert Path(into).name == "T-0-fake-int8" and (Path(into) / "int8").read_text() == str(model)
    assert prepare(variant, sys.executable, model, setup) == into and asked == ["fake-int8"]


def test_settings_leave_room_for_every_request(tmp_path):
    content = build(WORKLOADS["W2"])
    settings = settings_for(content, SHAPES["S"], Ready(Variant(PEERS["vllm"]), "python", {}), 2)
    assert settings["kv_tokens"] >= 9_749 + 3_278
    assert settings["kv_bytes"] == settings["kv_tokens"] * SHAPES["S"].kv_bytes_per_token
    assert settings["longest"] >= max(len(one["prompt"]) + one["output"] for one in content["requests"])
    assert json.dumps(settings)


def test_memory_counts_children(tmp_path):
    for pid, parent, peak in ((10, 1, 100), (11, 10, 20), (12, 11, 3), (13, 1, 1000)):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "status").write_text(f"Name:\tx\nPPid:\t{parent}\nVmHWM:\t   {peak} kB\n")
    assert tree_peak(10, tmp_path) == 123 * 1024
    assert tree_peak(99, tmp_path) is None


def test_adapters_need_only_their_engine():
    for peer in PEERS.values():
        text = peer.script.read_text()
        assert "from wire import" in text and "benchmarks" not in text
        assert peer.name == "penstock" or "penstock" not in text


def test_an_environment_that_is_missing_is_a_reason(tmp_path):
    with pytest.raises(Unavailable, match="not installed"):
        interpreter(PEERS["vllm"], tmp_path, {}, print, install=False)
    with pytest.raises(Unavailable, match="not an executable"):
        interpreter(PEERS["vllm"], tmp_path, {"vllm": str(tmp_path / "python")}, print)
    assert interpreter(PEERS["vllm"], tmp_path, {"vllm": sys.executable}, print) == (sys.executable, {})
    assert interpreter(PEERS["penstock"], tmp_path, {}, print) == (sys.executable, {})
