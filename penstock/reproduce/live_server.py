"""A real ``penstock serve`` in a process of its own, and clients that put load on it as tenants."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from penstock.bench.client import Target, open_client, stream
from penstock.bench.workload import Item
from penstock.core.errors import PenstockError

if TYPE_CHECKING:
    import httpx

MODEL = "bundled"
READY_SECONDS = 120.0


@contextmanager
def server(*flags: str) -> Iterator[str]:
    """Start a server of the bundled model on a free port; yield its address, and stop it at the end.

    Raises:
        PenstockError: it ended, or did not answer in time.
    """
    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "penstock.cli", "serve", "--port", str(port), "--log-level", "error"]
    command += ["--served-model-name", MODEL]
    process = subprocess.Popen(
        [*command, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + READY_SECONDS
        while True:
            if process.poll() is not None:
                raise PenstockError(f"the server ended with code {process.returncode}")
            try:
                if httpx.get(address + "/ready", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if time.monotonic() > until:
                raise PenstockError(f"the server did not answer within {READY_SECONDS:.0f} s")
            time.sleep(0.2)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


class Prompts:
    """Token ids drawn from a seed, so that prompts share no prefix unless asked to.

    Args:
        seed: of the ids.
        vocabulary: ids are below it.
    """

    def __init__(self, seed: int, vocabulary: int = 3000) -> None:
        self._rng = np.random.default_rng(seed)
        self._vocabulary = vocabulary

    def draw(self, length: int) -> list[int]:
        """Return ids of a prompt."""
        ids: list[int] = self._rng.integers(10, self._vocabulary, length).tolist()
        return ids


class Done(msgspec.Struct, frozen=True):
    """A request that was answered in full."""

    tenant: str
    ended: float
    """Seconds on `time.perf_counter`."""
    prompt: int
    output: int
    cached: int


class Oversupply:
    """A tenant that keeps so many requests open; answers are not streamed, to spare the machine.

    Args:
        tenant: on whose behalf.
        open_requests: how many at a time.
        prompt: tokens.
        output: tokens.
        prompts: draws them.
        prefix: token ids that every prompt begins with.
    """

    def __init__(
        self,
        tenant: str,
        open_requests: int,
        prompt: int,
        output: int,
        prompts: Prompts,
        prefix: Sequence[int] = (),
    ) -> None:
        self._tenant = tenant
        self._open = open_requests
        self._lengths = prompt, output
        self._prompts = prompts
        self._prefix = list(prefix)
        self.done: list[Done] = []

    async def run(self, client: httpx.AsyncClient, until: float) -> None:
        """Send until a time on `time.perf_counter`; what is open then is given up."""
        tasks = [asyncio.create_task(self._one_by_one(client)) for _ in range(self._open)]
        await asyncio.sleep(max(0.0, until - time.perf_counter()))
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _one_by_one(self, client: httpx.AsyncClient) -> None:
        while True:
            prompt, output = self._lengths
            body: dict[str, Any] = {
                "prompt": self._prefix + self._prompts.draw(prompt),
                "max_tokens": output,
                "ignore_eos": True,
                "temperature": 0,
                "tenant": self._tenant,
            }
            answer = await client.post("/v1/completions", json=body)
            answer.raise_for_status()
            usage = answer.json()["usage"]
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            now = time.perf_counter()
            self.done.append(
                Done(self._tenant, now, usage["prompt_tokens"], usage["completion_tokens"], cached)
            )

    def service(self, begin: float, end: float, extend: bool = False) -> float:
        """Return service units of the answers that ended within a span."""
        return sum(
            one.prompt - (one.cached if extend else 0) + 2.0 * one.output
            for one in self.done
            if begin <= one.ended < end
        )


async def first_tokens(
    client: httpx.AsyncClient,
    address: str,
    tenant: str,
    gaps: Sequence[float],
    lengths: tuple[int, int],
    prompts: Prompts,
) -> list[float]:
    """Send a request after each gap, whatever happens, and return the seconds to each first token.

    Raises:
        PenstockError: a request failed.
    """
    target = Target(address, model=MODEL, ignore_eos=True, temperature=0.0, extra={"tenant": tenant})
    tasks = []
    for gap in gaps:
        await asyncio.sleep(gap)
        item = Item(0.0, prompts.draw(lengths[0]), lengths[1])
        tasks.append(asyncio.create_task(stream(client, target, item)))
    records = await asyncio.gather(*tasks)
    for record in records:
        if record.error is not None:
            raise PenstockError(f"a request of {tenant} failed: {record.error}")
    return [record.token_times[0] - record.arrival for record in records]


def load_client(address: str) -> httpx.AsyncClient:
    """Return a client with as many connections as it takes."""
    return open_client(Target(address), connections=256)
