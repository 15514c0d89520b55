"""Clients of `benchmarks/soak.py`: well-behaved and other ones, and what each of them saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import httpx

KEYS = {"alpha": "key-alpha", "beta": "key-beta", "gamma": "key-gamma"}
ADMIN = "key-admin"
_FINISH = re.compile(rb'"finish_reason":"(\w+)"')
_STATUS = re.compile(rb"HTTP/1.1 (\d+)")


@dataclass(slots=True)
class Seen:
    """One request as its client saw it."""

    id: str
    tenant: str
    streamed: bool
    manner: str
    """whole (reads to the end), leave (drops the connection), abort (calls /abort), slow (never reads)."""
    sent: float
    status: int = 0
    headed: float = 0.0
    ended: float = 0.0
    finishes: tuple[str, ...] = ()
    errors: int = 0
    dones: int = 0
    error_text: str = ""
    broken: str = ""
    """What went wrong with the connection itself."""

    def verdict(self) -> str:
        """Return what is wrong with what was seen, or nothing."""
        if self.manner in ("leave", "slow"):
            return ""
        if self.broken or not self.status:
            return f"no answer ({self.broken or 'the connection ended'})"
        if self.status != 200:
            return "" if self.errors == 1 and not self.finishes else "an error status without one error"
        if len(self.finishes) + self.errors != 1:
            return f"{len(self.finishes)} ends and {self.errors} errors"
        if self.streamed and self.dones != 1:
            return f"{self.dones} end marks"
        return ""


class Crowd:
    """Sends requests over a connection each.

    Args:
        host: of the server.
        port: of the server.
        seed: of the requests.
    """

    def __init__(self, host: str, port: int, seed: int) -> None:
        self._at = host, port
        self._rng = random.Random(seed)
        self._count = 0
        self.seen: list[Seen] = []
        self.open = 0

    async def ask(self, tenant: str, manner: str = "whole") -> Seen:
        """Send one request, behave, and note what came."""
        rng = self._rng
        self._count += 1
        one = Seen(f"soak-{self._count}", tenant, rng.random() < 0.7 or manner == "slow", manner, time.time())
        body = {
            "prompt": [rng.randrange(10, 3000) for _ in range(rng.randint(8, 160))],
            "max_tokens": 1500 if manner == "slow" else rng.randint(4, 160),
            "ignore_eos": True, "stream": one.streamed, "seed": self._count,
        }  # fmt: skip
        self.seen.append(one)
        self.open += 1
        try:
            async with asyncio.timeout(300):
                await self._run(one, json.dumps(body).encode())
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            one.broken = f"{type(error).__name__}: {error}"
        finally:
            self.open -= 1
            one.ended = time.time()
        return one

    async def _run(self, one: Seen, body: bytes) -> None:
        patience = self._rng.choice([0.0, 0.02, 0.2, 1.0])
        reader, writer = await asyncio.open_connection(*self._at)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: soak\r\nConnection: close\r\nX-Request-Id: {one.id}\r\n"
            f"Authorization: Bearer {KEYS[one.tenant]}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        try:
            if one.manner == "leave":
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(-1), patience)
                writer.transport.abort()
                return
            if one.manner == "slow":
                await asyncio.sleep(15)
                writer.transport.abort()
                return
            if one.manner == "abort":
                later = asyncio.ensure_future(self._abort(one, patience))
                self._read(one, *await self._all(one, reader))
                await later
                return
            self._read(one, *await self._all(one, reader))
        finally:
            writer.close()

    @staticmethod
    async def _all(one: Seen, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        one.headed = time.time()
        return head, await reader.read(-1)

    @staticmethod
    def _read(one: Seen, head: bytes, body: bytes) -> None:
        found = _STATUS.match(head)
        one.status = int(found[1]) if found else 0
        one.finishes = tuple(word.decode() for word in _FINISH.findall(body))
        one.errors = body.count(b'{"error":{')
        one.dones = body.count(b"data: [DONE]")
        if one.errors:
            one.error_text = body[body.index(b'{"error":{') :][:300].decode("utf-8", "replace")

    async def _abort(self, one: Seen, after: float) -> None:
        await asyncio.sleep(after)
        host, port = self._at
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(timeout=30) as client:
                await client.post(
                    f"http://{host}:{port}/abort", json={"request_ids": [f"cmpl-{one.id}"]},
                    headers={"Authorization": f"Bearer {KEYS[one.tenant]}"},
                )  # fmt: skip


def probe(pipe: Connection, host: str, port: int) -> None:
    """Ask /health ten times a second until told to stop; send back (time, seconds, status) of each."""
    found: list[tuple[float, float, int]] = []
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=10) as client:
        while not pipe.poll(0.1):
            began = time.time()
            clock = time.perf_counter()
            try:
                status = client.get("/health").status_code
            except httpx.HTTPError:
                status = 0
            found.append((began, time.perf_counter() - clock, status))
    pipe.send(found)
