"""``penstock bench serve`` against a server on a socket: what it prints, saves and draws."""

import json
import sys

import pytest

from penstock.cli.main import main


def test_saves_prints_and_draws(server, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    saved, drawn = tmp_path / "run.json", tmp_path / "run.png"
    arguments = (
        f"bench serve --base-url {server.url} --num-prompts 8 --input-len 5 --output-len 3 --ignore-eos"
    )
    arguments += f" --goodput ttft:60s,tpot:60s --max-concurrency 2 --api-key secret-key --plot {drawn}"
    status = main([*arguments.split(), "--save", str(saved), "--save-detailed"])
    out = capsys.readouterr().out
    assert status == 0
    assert "request throughput" in out and "TTFT" in out
    assert drawn.read_bytes()[:4] == b"\x89PNG"
    assert "secret-key" not in saved.read_text()
    result = json.loads(saved.read_text())
    assert (result["completed"], result["failed"], result["num_prompts"]) == (8, 0, 8)
    assert (result["total_input_tokens"], result["total_output_tokens"]) == (40, 24)
    assert result["output_length_mismatches"] == 0
    assert result["slo_attainment"] == 1.0
    assert result["max_concurrent_requests"] <= 2
    assert result["model_id"] == "tiny"
    assert len(result["ttfts"]) == len(result["itls"]) == 8
    # One warm-up goes before; ids stay below what the server said its vocabulary is.
    assert len(server.bodies) == 9
    assert all(token < 40 for body in server.bodies for token in body["prompt"])


def test_result_has_the_keys_that_scripts_parse(server, tmp_path):
    arguments = ["bench", "serve", "--base-url", server.url, "--num-prompts", "3", "--goodput", "ttft:1"]
    assert main([*arguments, "--save", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("serve-*.json")
    result = json.loads(path.read_text())
    keys = "date model_id num_prompts request_rate burstiness max_concurrency duration completed failed "
    keys += "total_input_tokens total_output_tokens request_throughput request_goodput output_throughput "
    keys += "total_token_throughput settings versions machine"
    assert set(keys.split()) <= set(result)
    for metric in ("ttft", "tpot", "itl", "e2el"):
        for point in ("mean", "median", "std", "p90", "p99"):
            assert f"{point}_{metric}_ms" in result
    assert result["versions"]["penstock"]
    assert result["settings"]["seed"] == 0


def test_random_words_for_a_chat_endpoint(server):
    arguments = ["bench", "serve", "--base-url", server.url, "--endpoint", "/v1/chat/completions"]
    assert main([*arguments, "--num-prompts", "2", "--input-len", "6", "--num-warmups", "0"]) == 0
    for body in server.bodies:
        assert len(body["messages"][0]["content"].split()) == 6


def test_no_server_is_one_line(capsys):
    status = main(["bench", "serve", "--base-url", "http://127.0.0.1:9", "--ready-timeout", "0"])
    err = capsys.readouterr().err
    assert status == 2
    assert err.startswith("penstock: no OpenAI-compatible server answers at http://127.0.0.1:9")
    assert err.count("\n") == 1


def test_missing_matplotlib_is_said_before_the_run(server, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "serve", "--base-url", server.url, "--plot", "run.png"]) == 2
    assert "--plot: needs matplotlib" in capsys.readouterr().err
    assert server.bodies == []
