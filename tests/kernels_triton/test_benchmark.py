"""The GPU benchmark runs its arms and adds up its figures; only the timing itself needs a GPU."""

import importlib.util
from argparse import Namespace
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

PATH = Path(__file__).parents[2] / "benchmarks" / "gpu_attention.py"


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_attention", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not torch.cuda.is_available():
        monkeypatch.setattr(module, "DEVICE", "cpu")
        monkeypatch.setattr(module, "capture", lambda arm: arm)
    return module


@pytest.mark.parametrize("steps", [[(2, 1, 40)], [(2, 1, 70), (1, 9, 33)]])
def test_arms_agree_or_say_why_they_cannot_run(bench, steps):
    args = Namespace(page=16, heads=4, kv_heads=2, head_dim=32)
    replays, notes = bench.prepare(bench.make_problem(steps, args))
    assert {"triton", "triton-tile128"} <= set(replays)
    assert set(notes) == set(bench.ARMS)
    for name, note in notes.items():
        assert note["max_error"] < 3e-2 if name in replays else note["unavailable"]


def test_figures_are_paired_by_round(bench):
    times = {"a": [1.0, 2.0, 4.0], "b": [0.5, 1.0, 8.0]}
    out = bench.summarise(times, moved=4 * 10**12, work=8 * 10**12)
    assert out["a"] == {"microseconds": 2e6, "ratio": 1.0, "terabytes_per_second": 2.0, "teraflops": 4.0}
    assert out["b"]["ratio"] == 0.5
    assert out["b"]["terabytes_per_second"] == 4.0


def test_arms_take_turns_and_the_first_round_is_dropped(bench, monkeypatch):
    order = []
    monkeypatch.setattr(bench, "seconds", lambda replay, repeats: order.append(replay()) or len(order))
    times = bench.interleave({"a": lambda: "a", "b": lambda: "b"}, rounds=2, repeats=1)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert times == {"a": [4, 5], "b": [3, 6]}


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it would really run")
def test_without_a_gpu_it_says_so(bench, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpu_attention"])
    assert bench.main() == 2
    assert "needs a CUDA device" in capsys.readouterr().err
