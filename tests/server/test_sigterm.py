"""A real server process, its engine in another one, told to stop under load."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import msgspec
import psutil
import pytest

from tests.server import tiny
from tests.server.test_end_to_end import tiny_config

pytestmark = pytest.mark.e2e

SCRIPT = """
import sys, msgspec
from penstock.config.settings import Config
from penstock.server import run_server
run_server(msgspec.json.decode(sys.argv[1], type=Config))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("tiny"))


class Served:
    """A server process on a free port."""

    def __init__(self, folder, drain_timeout):
        config = tiny_config(folder, inproc=False)
        server = msgspec.structs.replace(config.server, port=0, drain_timeout=drain_timeout)
        # Few at once, so that the last ones are still waiting when the first have ended.
        schedule = msgspec.structs.replace(config.schedule, max_num_seqs=2)
        config = msgspec.structs.replace(config, server=server, schedule=schedule)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, msgspec.json.encode(config).decode()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.lines, self.url = [], ""
        self._up = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        assert self._up.wait(120) and self.url, "\n".join(self.lines)
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if " serves 'tiny' at " in line:
                self.url = line.split(" at ")[1].split()[0]
            if "Ctrl-C" in line:
                self._up.set()
        self._up.set()

    def end(self):
        """Return the exit status, and check that no process is left behind."""
        try:
            status = self.process.wait(30)
            _, alive = psutil.wait_procs(self.children, 10)
            assert not alive, "the engine process outlived its server"
            return status
        finally:
            self.process.kill()


def ask(url, results, tokens):
    body = {"prompt": "abc", "max_tokens": tokens, "ignore_eos": True, "stream": True, "seed": len(results)}
    body["stream_options"] = {"include_usage": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as reply:
        lines = [line for line in reply.iter_lines() if line]
    results.append((reply.status_code, lines))


def load(served, count, tokens):
    results = []
    threads = [threading.Thread(target=ask, args=(served.url, results, tokens)) for _ in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while httpx.get(f"{served.url}/load").json()["server_load"] + len(results) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return results, threads


def test_the_first_signal_loses_no_admitted_request(folder):
    served = Served(folder, drain_timeout=60)
    assert any("Memory plan" in line for line in served.lines)
    results, threads = load(served, 24, 200)
    served.process.send_signal(signal.SIGTERM)
    status = 200
    deadline = time.monotonic() + 10
    while status != 503:
        assert time.monotonic() < deadline
        reply = httpx.post(f"{served.url}/v1/completions", json={"prompt": "x", "max_tokens": 1})
        status = reply.status_code
    assert int(reply.headers["retry-after"]) >= 1
    for thread in threads:
        thread.join(60)
    assert served.end() == 0, "\n".join(served.lines)
    assert len(results) == 24
    for code, lines in results:
        assert code == 200 and lines[-1] == "data: [DONE]"
        assert json.loads(lines[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 200


def test_the_drain_limit_ends_the_rest_with_a_reason(folder):
    served = Served(folder, drain_timeout=0.0)
    results, threads = load(served, 24, 250)
    served.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert served.end() == 0, "\n".join(served.lines)
    ends = [json.loads(lines[-2 if code == 200 else -1].removeprefix("data: ")) for code, lines in results]
    assert len(ends) == 24
    aborted = [end for end in ends if "error" in end]
    assert aborted and {end["error"]["code"] for end in aborted} == {"shutting_down"}


def test_a_second_signal_ends_at_once(folder):
    served = Served(folder, drain_timeout=600)
    load(served, 24, 250)
    served.process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    served.process.send_signal(signal.SIGTERM)
    assert served.end() in (128 + signal.SIGTERM, 0)


def test_interrupt_from_the_terminal_drains_too(folder):
    """Ctrl-C reaches the whole process group; the engine must not die of it while the server drains."""
    served = Served(folder, drain_timeout=60)
    results, threads = load(served, 8, 200)
    for process in (served.process, *served.children):
        process.send_signal(signal.SIGINT)
    for thread in threads:
        thread.join(60)
    assert served.end() == 0, "\n".join(served.lines)
    assert [lines[-1] for _, lines in results] == ["data: [DONE]"] * 8
    assert not any("error" in json.loads(lines[-2].removeprefix("data: ")) for _, lines in results)
