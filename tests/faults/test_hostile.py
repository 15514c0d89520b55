"""Clients that do their worst, over real sockets: each is answered or dropped, and the next one is served."""

import asyncio
import contextlib
import json
import resource
import socket
import time

import httpx
import msgspec
import pytest

from penstock.server import protocol
from penstock.server.protocol import Bounds
from tests.server.fakes import CONFIG, FakeEngine
from tests.server.live import serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "hi"}]
BRIEF = msgspec.structs.replace(
    CONFIG,
    server=msgspec.structs.replace(CONFIG.server, client_read_timeout=0.4, client_write_timeout=0.5),
)


@pytest.fixture(scope="module")
def port():
    """A patient server."""
    with serving(FakeEngine(), CONFIG) as (port, _, _):
        yield port


@pytest.fixture(scope="module")
def brief():
    """A server that gives its clients half a second."""
    with serving(FakeEngine(), BRIEF) as (port, _, _):
        yield port


def connect(port):
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.settimeout(10)
    return sock


def read_all(sock):
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def parse(raw):
    """Return status, headers and body of one answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


def refused(raw, status, code=None):
    found, headers, body = parse(raw)
    assert found == status, raw[:300]
    assert headers["content-type"] == "application/json" and headers["connection"] == "close"
    error = json.loads(body)["error"]
    assert error["message"] and (code is None or error["code"] == code)


def healthy(port):
    return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200


def post(body, path=CHAT, version="1.1", extra=""):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(raw)}\r\n{extra}\r\n"
    return head.encode() + raw


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"".join(b"X-%d: 1\r\n" % i for i in range(5000)), 431),
        (b"X: " + b"a" * 10_000_000, 431),
        (b"x" * 3_000_000, 431),
        (b"no colon\r\n\r\n", 400),
        (b"X: \x00\r\n\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"Content-Length: -1\r\n\r\n", 400),
        (b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
    ids=[
        "many",
        "long",
        "long-name",
        "no-colon",
        "nul",
        "twice",
        "negative",
        "huge",
        "smuggled",
        "bad-chunk",
    ],
)
def test_heads_that_are_too_large_or_no_http(port, head, status):
    with connect(port) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + head)
        refused(read_all(sock), status)
    assert healthy(port)


@pytest.mark.parametrize(
    "raw",
    [b"\x16\x03\x01\x02\x00\x01" + b"\x00" * 600, b"\x00" * 100, b"GET\r\n\r\n"],
)
def test_what_is_no_http_at_all(port, raw):
    with connect(port) as sock:
        sock.sendall(raw)
        refused(read_all(sock), 400)


def test_a_request_line_that_never_ends(port):
    with connect(port) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"GET /" + b"a" * 5_000_000)
        refused(read_all(sock), 431)


def test_two_gigabytes_are_refused_after_the_first_bytes(port):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with connect(port) as sock:
        sock.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {2 << 30}\r\n\r\n".encode())
        sent, piece = 0, b"x" * 2**20
        sock.settimeout(0.2)
        try:
            while sent < 64 * 2**20:  # it goes on sending without listening, as many clients do
                sent += sock.send(piece)
        except (ConnectionError, TimeoutError):
            pass
        sock.settimeout(10)
        refused(read_all(sock), 413, "request_too_large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 * 1024  # KiB
    assert healthy(port)


def test_a_chunked_body_without_an_end_is_refused_at_the_limit(port):
    with connect(port) as sock:
        sock.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        try:
            for _ in range(64):
                sock.sendall(piece)
        except (ConnectionError, TimeoutError):
            pass
        refused(read_all(sock), 413, "request_too_large")


def test_slow_senders_run_out_of_time(brief):
    """A head that drips in, a body that stops, a connection without a word; meanwhile others are served."""
    began = time.monotonic()
    with connect(brief) as head, connect(brief) as body, connect(brief) as silent:
        head.sendall(b"POST /v1/chat/comp")
        body.sendall(post({"messages": HI})[:-3])
        for byte in b"letions HTTP/1.1\r\nX: ":
            try:
                head.sendall(bytes([byte]))
            except ConnectionError:
                break
            assert healthy(brief)
            if time.monotonic() - began > 1.5:
                break
            time.sleep(0.05)
        refused(read_all(head), 408, "request_timeout")
        refused(read_all(body), 408, "request_timeout")
        assert read_all(silent) == b""
    assert time.monotonic() - began < 6


def test_a_slow_body_that_goes_on_is_not_cut_off(brief):
    raw = post({"messages": HI})
    with connect(brief) as sock:
        sock.sendall(raw[:-8])
        for start in range(8):
            time.sleep(0.12)
            sock.sendall(raw[-8:][start : start + 1])
        status = sock.recv(65536)
    assert status.startswith(b"HTTP/1.1 200")


def test_an_answer_that_takes_long_is_no_slow_client():
    engine = FakeEngine()
    engine.delay = 0.3
    with serving(engine, BRIEF) as (port, _, _):
        reply = httpx.post(f"http://127.0.0.1:{port}{CHAT}", json={"messages": HI}, timeout=10)
    assert reply.status_code == 200 and reply.elapsed.total_seconds() > 1


def test_clients_that_never_read_are_dropped_and_cost_little(caplog):
    engine = FakeEngine("x" * 10**8)
    engine.stride, engine.delay = 20_000, 0.001
    with serving(engine, BRIEF) as (port, _, _):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        socks = [socket.socket() for _ in range(4)]
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", port))
            sock.sendall(post({"messages": HI, "stream": True}))
        deadline = time.monotonic() + 40
        while len(engine.reasons) < 4:
            assert time.monotonic() < deadline, engine.reasons
            time.sleep(0.02)
        assert engine.reasons == [protocol.UNREAD] * 4 and engine.running == {}
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
        assert healthy(port)
        for sock in socks:
            sock.close()
    assert "unread" in caplog.text


def test_a_client_that_reads_slowly_but_reads_is_kept(brief):
    engine = FakeEngine("x" * 400_000)
    engine.stride = 20_000
    with serving(engine, BRIEF) as (port, _, _):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.connect(("127.0.0.1", port))
        sock.sendall(post({"messages": HI, "stream": True}, extra="Connection: close\r\n"))
        got = b""
        while part := sock.recv(8192):
            got += part
            time.sleep(0.02)
        sock.close()
    assert got.count(b"x") >= 400_000 and b"[DONE]" in got


def test_an_unread_end_of_an_answer_does_not_keep_the_connection():
    """The answer is complete for us, but the client never takes the last of it."""
    engine = FakeEngine("x" * 1_000_000)
    engine.stride = 10**9
    with serving(engine, BRIEF) as (port, server, _):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.sendall(post({"messages": HI}))
        deadline = time.monotonic() + 40
        while not engine.asked:
            time.sleep(0.01)
        while server.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        sock.close()


def test_pipelined_requests_are_answered_in_order(port):
    bodies = [{"messages": HI, "max_tokens": n + 1} for n in range(5)]
    with connect(port) as sock:
        raw = b"".join(post(body) for body in bodies[:-1]) + post(bodies[-1], extra="Connection: close\r\n")
        sock.sendall(raw)
        answers = read_all(sock).split(b"HTTP/1.1 ")[1:]
    texts = [json.loads(one.split(b"\r\n\r\n")[1])["choices"][0]["message"]["content"] for one in answers]
    assert texts == ["H", "He", "Hel", "Hell", "Hello"]


def test_a_flood_of_pipelined_requests_is_cut_off(port):
    with connect(port) as sock:
        one = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            sock.sendall(one * 5000)
        assert read_all(sock).count(b"HTTP/1.1 200") <= Bounds().pipelined + 1
    assert healthy(port)


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0(port, stream):
    with connect(port) as sock:
        sock.sendall(post({"messages": HI, "stream": stream}, version="1.0"))
        raw = read_all(sock)
    assert raw.startswith(b"HTTP/1.1 200") and b"connection: close" in raw.lower()
    assert b"Hel" in raw


def test_a_half_closed_connection_leaves_nothing_running():
    engine = FakeEngine("x" * 10**6)
    engine.stride, engine.delay = 1, 0.01
    with serving(engine, CONFIG) as (port, _, _):
        for stream in (False, True):
            with connect(port) as sock:
                sock.sendall(post({"messages": HI, "stream": stream}))
                sock.shutdown(socket.SHUT_WR)
                read_all(sock)
        deadline = time.monotonic() + 5
        while engine.running:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert len(engine.cancelled) == len(engine.asked)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "\xff\xfe\xc0"}',
        b'{"prompt": ' + b"[" * 200_000,
        b"{" + b'"a": {' * 50_000,
        b'{"prompt": "a", "max_tokens": 1e400}',
        b'{"prompt": "a", "max_tokens": ' + b"9" * 100_000 + b"}",
        b'{"prompt": "a", "seed": -' + b"9" * 5000 + b"}",
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": "a", "temperature": -Infinity}',
        b'{"prompt": [' + b"1," * 1_000_000 + b"1]}",
        b'{"prompt": [' + b'"a",' * 1_000_000 + b'"a"]}',
        b'{"prompt": "' + b"\\u0000" * 100_000 + b'"}',
        b'{"prompt": "a", "logit_bias": {' + b",".join(b'"%d":1' % i for i in range(200_000)) + b"}}",
        b'{"prompt": "a", "stop": [' + b'"b",' * 200_000 + b'"b"]}',
        b'{"prompt": "a", "n": 1000000000}',
        b'{"prompt": "a", "max_tokens": 5, "max_tokens": -5}',
        b'"just text"',
        b"[]",
        b"null",
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda body: body[:24].decode("ascii", "replace"),
)
def test_bodies_meant_to_hurt_are_refused_quickly(port, body):
    began = time.monotonic()
    reply = httpx.post(f"http://127.0.0.1:{port}{TEXT}", content=body, timeout=20)
    assert reply.status_code == 400, reply.text[:300]
    assert reply.json()["error"]["message"] and len(reply.content) < 5000
    assert time.monotonic() - began < 5
    assert healthy(port)


def test_of_keys_that_are_given_twice_the_last_counts(port):
    reply = httpx.post(
        f"http://127.0.0.1:{port}{TEXT}", content=b'{"prompt": "a", "max_tokens": -5, "max_tokens": 2}'
    )
    assert reply.json()["choices"][0]["text"] == "He"


def test_a_thousand_idle_connections_do_not_slow_the_next_request(port):
    async def go():
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1000)]
        began = time.monotonic()
        async with httpx.AsyncClient() as client:
            reply = await client.get(f"http://127.0.0.1:{port}/health")
        took = time.monotonic() - began
        for _, writer in pairs:
            writer.close()
        return reply.status_code, took

    status, took = asyncio.run(go())
    assert status == 200 and took < 2
