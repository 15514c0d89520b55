"""Verbs that load a model, on the bundled one: generate, chat without a server, the offline benchmarks."""

import io
import json

import pytest

from penstock.cli.main import main

FEW = ["--max-num-seqs", "4", "--max-model-len", "256"]


def test_generate_text(capsys):
    assert main(["generate", "Once upon a time", "--temperature", "0", "--max-tokens", "8", *FEW]) == 0
    first = capsys.readouterr().out
    assert first.strip()
    assert "---" not in first


def test_generate_json_with_chat_and_several_prompts(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello"))
    flags = ["--chat", "--json", "--n", "2", "--max-tokens", "5", "--ignore-eos", "--seed", "3"]
    assert main(["generate", "Count from two to five.", "-", *flags, *FEW]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert "Count from two to five." in first["prompt"]
    assert "Hello" in second["prompt"]
    for output in (first, second):
        assert [one["tokens"] for one in output["outputs"]] == [5, 5]
        assert [one["finish_reason"] for one in output["outputs"]] == ["length", "length"]


def test_chat_in_this_process(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))
    assert main(["chat", "--temperature", "0", "--max-tokens", "6", *FEW]) == 0
    assert capsys.readouterr().out.strip()


def test_throughput(capsys, tmp_path):
    path = tmp_path / "t.json"
    arguments = ["bench", "throughput", "--num-prompts", "6", "--input-len", "uniform:4:9", "--roofline"]
    assert main([*arguments, "--output-len", "5", "--save", str(path), *FEW]) == 0
    assert "share of the roofline" in capsys.readouterr().out
    result = json.loads(path.read_text())
    assert (result["kind"], result["completed"], result["total_output_tokens"]) == ("throughput", 6, 30)
    assert result["output_length_mismatches"] == 0
    assert result["tokens_per_second"] == pytest.approx(result["total_num_tokens"] / result["elapsed_time"])
    roofline = result["roofline"]
    assert roofline["decode_steps"] > 0
    expected = roofline["decode_bytes"] / roofline["decode_seconds"]
    assert roofline["share"] == pytest.approx(expected / roofline["measured_bandwidth_bytes_per_s"])
    assert result["settings"]["config"]["schedule"]["max_num_seqs"] == 4


def test_latency(capsys, tmp_path):
    arguments = ["bench", "latency", "--batch-size", "3", "--num-iters", "2", "--num-iters-warmup", "1"]
    assert main([*arguments, "--input-len", "8", "--output-len", "4", "--save", str(tmp_path), *FEW]) == 0
    (path,) = tmp_path.glob("latency-*.json")
    result = json.loads(path.read_text())
    assert result["completed"] == 6
    assert len(result["latencies"]) == 2
    assert result["avg_latency"] == pytest.approx(sum(result["latencies"]) / 2)
    assert result["total_cached_tokens"] == 0
    assert result["mean_tpot_ms"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "x", "--model", "/no/such/model"], "/no/such/model"),
        (["generate", "x", "--system", "y"], "--system: needs --chat"),
        (["generate", "x", "--max-tokens", "100000", *FEW], "max_tokens"),
        (["generate", "x", "--top-p", "7", *FEW], "top_p"),
        (["generate", "x", "--order", "nonsense", *FEW], "nonsense"),
        (["bench", "throughput", "--input-len", "9999", "--num-prompts", "1", *FEW], "prompt"),
        (["bench", "latency", "--output-len", "0"], "--output-len: expected"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, says):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
