"""``penstock bench serve`` against a server on a socket: what it prints, saves and draws."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from penstock.cli.main import main


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply("application/json", json.dumps({"data": [{"id": "tiny", "vocab_size": 40}]}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        count = body["max_tokens"]
        chat = self.path.endswith("chat/completions")
        pieces = [{"delta": {"content": "x"}} if chat else {"text": "x"} for _ in range(count)]
        events = [{"choices": [piece | {"finish_reason": None}]} for piece in pieces]
        prompt = len(body.get("prompt", "12345"))
        events.append({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": count}})
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.reply("text/event-stream", text)

    def reply(self, kind, text):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.bodies = []
        http.url = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield http
        http.shutdown()


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
