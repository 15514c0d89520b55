"""A real server process and its engine process, and what becomes of clients when one of them dies."""

import asyncio
import contextlib
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

from penstock.config.settings import Config, ModelConfig, ScheduleConfig, ServerConfig
from tests.server import tiny

pytestmark = pytest.mark.e2e

SCRIPT = """
import sys, msgspec, penstock.engine.client as client
client.DEFAULT_BUILD = "tests.faults.engines:build"
from penstock.config.settings import Config
from penstock.server import run_server
run_server(msgspec.json.decode(sys.argv[1], type=Config))
"""


class Served:
    """A server process around the scripted engine, on a free port; the model's folder takes the orders."""

    def __init__(self, folder, **server):
        self.folder = folder
        config = Config(
            model=ModelConfig(model=str(folder), served_model_name="tiny"),
            schedule=ScheduleConfig(admit="queue-bound(20000)"),
            server=ServerConfig(port=0, **server),
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, msgspec.json.encode(config).decode()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(["", *sys.path])},
        )
        self.lines, self.url = [], ""
        up = threading.Event()
        threading.Thread(target=self._read, args=(up,), daemon=True).start()
        assert up.wait(120) and self.url, "\n".join(self.lines)
        self.port = int(self.url.rsplit(":", 1)[1])

    def _read(self, up):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if " serves 'tiny' at " in line:
                self.url = line.split(" at ")[1].split()[0]
            if "Ctrl-C" in line:
                up.set()
        up.set()

    def children(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def engine(self):
        return min(self.children(), key=lambda child: child.create_time())

    def get(self, path):
        return httpx.get(self.url + path, timeout=10)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny.build(folder)
    return folder


@pytest.fixture(scope="module")
def served(folder):
    served = Served(folder, watchdog_timeout=1.0, drain_timeout=1.0)
    yield served
    served.close()


BODY = {"prompt": [5, 6, 7], "max_tokens": 200, "ignore_eos": True}


async def crowd(served, count, event):
    """Start streams, do something to the server, and return what each client got."""
    async with httpx.AsyncClient(
        base_url=served.url, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as client:
        begun = asyncio.Semaphore(0)

        async def one(number):
            got = b""
            async with client.stream(
                "POST", "/v1/completions", json={**BODY, "seed": number, "stream": True}
            ) as reply:
                begun.release()
                with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
                    async for part in reply.aiter_bytes():
                        got += part
            return reply.status_code, got

        tasks = [asyncio.create_task(one(number)) for number in range(count)]
        for _ in range(count):
            await begun.acquire()
        event()
        return await asyncio.gather(*tasks)


def one_error_each(results, words):
    for status, got in results:
        events = [part for part in got.decode().split("data: ") if part.strip()]
        assert status == 200 and events[-1].strip() == "[DONE]"
        errors = [json.loads(part)["error"] for part in events[:-1] if '"error"' in part]
        finished = sum('"finish_reason":"' in part for part in events)
        assert len(errors) + finished == 1, "exactly one end"
        assert not errors or words in errors[0]["message"]
    assert any(b'"error"' in got for _, got in results)


def served_again(served, within):
    began = time.monotonic()
    while True:
        reply = httpx.post(f"{served.url}/v1/completions", json={**BODY, "max_tokens": 3}, timeout=30)
        if reply.status_code == 200:
            return
        assert reply.status_code == 503 and int(reply.headers["retry-after"]) >= 1
        assert time.monotonic() - began < within
        time.sleep(0.05)


def test_killing_the_engine_under_load(served):
    results = asyncio.run(crowd(served, 24, lambda: served.engine().kill()))
    one_error_each(results, "was killed by SIGKILL")
    served_again(served, within=10)
    assert served.get("/health").json()["restarts"] == 1


def test_a_hang_under_load(served):
    results = asyncio.run(crowd(served, 24, (served.folder / "hang").touch))
    one_error_each(results, "made no progress for")
    served_again(served, within=10)
    assert any("engines.py" in line for line in served.lines), "the stacks of the hung process"


def test_thousands_of_queued_requests_leave_the_server_responsive(served):
    """Clients queue up behind a full engine; /health answers meanwhile; all leave, and nothing stays."""
    count = 1000
    raw = json.dumps({**BODY, "max_tokens": 900}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode()

    async def go():
        process = psutil.Process(served.process.pid)
        before = process.memory_info().rss
        writers = []
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(head + raw)
            writers.append(writer)
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
            async with asyncio.timeout(60):
                while (await client.get("/load")).json().get("waiting", 0) < count - 200:
                    await asyncio.sleep(0.05)
            took = []
            for _ in range(20):
                began = time.monotonic()
                assert (await client.get("/health")).status_code == 200
                took.append(time.monotonic() - began)
            grown = process.memory_info().rss - before
            for writer in writers:
                writer.transport.abort()
            async with asyncio.timeout(60):
                while (found := (await client.get("/load")).json())["server_load"] or found["running"]:
                    await asyncio.sleep(0.05)
        return sorted(took), grown / count

    took, each = asyncio.run(go())
    assert took[10] < 0.5 and each < 64 * 1024, (took, each)


def test_killing_the_server_leaves_no_process_behind(folder):
    served = Served(folder)
    children = served.children()
    assert len(children) == 2, "the engine and its spare"
    served.process.kill()
    served.process.wait(10)
    _, alive = psutil.wait_procs(children, 15)
    assert not alive


def test_restarts_that_fail_end_in_a_state_that_says_so(folder):
    served = Served(folder, warm_spare=False)
    try:
        deadline = time.monotonic() + 60
        while served.get("/health").json()["status"] != "dead":
            assert time.monotonic() < deadline
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):
                served.engine().kill()
            time.sleep(0.05)
        reply = httpx.post(f"{served.url}/v1/completions", json=BODY)
        assert reply.status_code == 503 and reply.json()["error"]["code"] == "engine_dead"
        assert "SIGKILL" in reply.json()["error"]["message"]
        assert served.get("/live").status_code == 200 and served.get("/ready").status_code == 503
    finally:
        served.close()
