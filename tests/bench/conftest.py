"""A tiny OpenAI-compatible streaming server with exactly known timing, and a way to run it."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest


class FakeServer:
    """Streams ``max_tokens`` pieces, ``gap`` seconds apart, and remembers what it was asked."""

    def __init__(self):
        self.gap = 0.01
        self.bodies = []
        self.headers = []
        self.flying = self.peak = 0
        self.fail = lambda body: None
        self.short = 0
        self.loading = 0

    async def handle(self, reader, writer):
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split()
                headers = {}
                while line := (await reader.readline()).decode().strip():
                    name, value = line.split(":", 1)
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.headers.append(headers)
                await self.answer(writer, method, path, body)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, writer, method, path, body):
        if path == "/v1/models":
            self.loading -= 1
            if self.loading >= 0:
                return self.send(writer, 503, {"error": {"message": "loading"}})
            return self.send(writer, 200, {"data": [{"id": "fake", "vocab_size": 90}]})
        body = json.loads(body)
        self.bodies.append(body)
        problem = self.fail(body)
        if problem:
            return self.send(writer, 400, {"error": {"message": problem}})
        self.flying += 1
        self.peak = max(self.peak, self.flying)
        try:
            await self.stream(writer, path, body)
        finally:
            self.flying -= 1

    def send(self, writer, status, payload):
        data = json.dumps(payload).encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

    async def stream(self, writer, path, body):
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        count = body["max_tokens"] - self.short
        chat = path.endswith("chat/completions")
        if chat:
            self.event(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for index in range(count):
            await asyncio.sleep(self.gap)
            finish = "length" if index == count - 1 else None
            piece = {"delta": {"content": "x"}} if chat else {"text": "x"}
            self.event(writer, {"choices": [piece | {"finish_reason": finish}]})
            await writer.drain()
        prompt = len(body.get("prompt") or body["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": count}
        usage["prompt_tokens_details"] = {"cached_tokens": 2}
        self.event(writer, {"choices": [], "usage": usage})
        self.raw(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")

    def event(self, writer, payload):
        self.raw(writer, b"data: " + json.dumps(payload).encode() + b"\n\n")

    def raw(self, writer, data):
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()


@pytest.fixture
def fake_server():
    return FakeServer()
