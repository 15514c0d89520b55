"""Real sockets: clients that leave, and servers that are told to stop."""

import asyncio
import json
import random
import signal
import threading
import time

import httpx
import pytest

from tests.server.fakes import CONFIG, FakeEngine
from tests.server.live import serving

HI = [{"role": "user", "content": "hi"}]


async def visit(port, rng, number, limit=10**6):
    """Send one request, read for a random while, and drop the connection without a word."""
    stream = rng.random() < 0.6
    body = {"messages": HI, "stream": stream, "n": rng.choice([1, 2])}
    path = "/v1/chat/completions"
    if rng.random() < 0.3:
        body, path = {"prompt": ["a", "b", "c"], "stream": stream, "max_tokens": limit}, "/v1/completions"
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
    await asyncio.sleep(rng.random() * 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    whole = head + raw
    # Some leave in the middle of their own request, some before the first token, some much later.
    cut = rng.randrange(1, len(whole)) if rng.random() < 0.15 else len(whole)
    writer.write(whole[:cut])
    await writer.drain()
    try:
        async with asyncio.timeout(rng.choice([0.0, 0.001, 0.05, 0.3])):
            while await reader.read(rng.choice([1, 100, 10_000])):
                pass
    except TimeoutError:
        pass
    if number % 2:
        writer.transport.abort()
    else:
        writer.close()


def test_clients_that_leave_at_random_leave_nothing_running():
    engine = FakeEngine("x" * 100_000)
    engine.stride, engine.delay = 1, 0.01
    rng = random.Random(0)

    async def crowd(port):
        await asyncio.gather(*(visit(port, rng, number) for number in range(200)))

    with serving(engine, CONFIG) as (port, _, _):
        asyncio.run(crowd(port))
        deadline = time.monotonic() + 2
        while engine.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert engine.running == {}
        assert len(engine.asked) > 150 and len(engine.cancelled) > 100
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'penstock:http_requests_in_flight{model_name="fake"} 0.0' in text


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_first_token_is_noticed(stream):
    engine = FakeEngine()
    engine.hold = True
    with serving(engine, CONFIG) as (port, _, _):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                json={"messages": HI, "stream": stream},
                timeout=httpx.Timeout(5, read=0.3),
            )
        deadline = time.monotonic() + 2
        while engine.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert engine.running == {} and len(engine.cancelled) == 1


def start_stream(port, found):
    with httpx.stream(
        "POST",
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json={"messages": HI, "stream": True},
        timeout=20,
    ) as reply:
        found.append(reply.read().decode())


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def test_drain_finishes_what_runs_refuses_what_comes_and_ends():
    engine = FakeEngine("x" * 60)
    engine.stride, engine.delay = 1, 0.02
    with serving(engine, CONFIG, drain_timeout=10) as (port, server, _):
        found = []
        thread = threading.Thread(target=start_stream, args=(port, found))
        thread.start()
        wait_for(lambda: engine.running)
        server.handle_exit(signal.SIGTERM, None)
        wait_for(lambda: engine.state == "draining")
        url = f"http://127.0.0.1:{port}"
        refused = httpx.post(f"{url}/v1/chat/completions", json={"messages": HI})
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert httpx.get(f"{url}/ready").status_code == 503
        assert httpx.get(f"{url}/health").status_code == 200
        thread.join(10)
        assert found[0].count('"content":"x"') == 60 and found[0].endswith("data: [DONE]\n\n")
        wait_for(lambda: server.should_exit)
    assert server.killed_by == 0


def test_drain_limit_aborts_the_rest_with_a_reason():
    engine = FakeEngine("x" * 100_000)
    engine.stride, engine.delay = 1, 0.02
    with serving(engine, CONFIG, drain_timeout=0.3) as (port, server, _):
        found = []
        threads = [threading.Thread(target=start_stream, args=(port, found)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(engine.running) == 3)
        server.handle_exit(signal.SIGTERM, None)
        for thread in threads:
            thread.join(10)
    assert len(found) == 3
    for text in found:
        error = json.loads(text.split("data: ")[-2])["error"]
        assert error["code"] == "shutting_down" and text.endswith("data: [DONE]\n\n")


def test_a_second_signal_ends_at_once():
    engine = FakeEngine()
    engine.hold = True
    with serving(engine, CONFIG, drain_timeout=60) as (port, server, _):
        found = []
        thread = threading.Thread(target=start_stream, args=(port, found))
        thread.start()
        wait_for(lambda: engine.running)
        began = time.monotonic()
        server.handle_exit(signal.SIGTERM, None)
        server.handle_exit(signal.SIGTERM, None)
        thread.join(10)
    assert time.monotonic() - began < 8 and server.killed_by == signal.SIGTERM
    assert "shut down" in found[0]


def test_a_body_that_is_too_large_gets_its_413_over_a_socket():
    import msgspec

    config = msgspec.structs.replace(
        CONFIG, server=msgspec.structs.replace(CONFIG.server, max_body_bytes=100_000)
    )
    with serving(FakeEngine(), config) as (port, _, _):
        reply = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json={"prompt": "x" * 3_000_000})
        assert reply.status_code == 413
