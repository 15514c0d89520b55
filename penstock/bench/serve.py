"""Drives a running server with a workload: open loop (due times) or closed loop (bounded concurrency).

The loop is open unless `Load.concurrency` bounds it: requests leave when they are due, however slow the
server is. In both cases latency counts from the moment of sending; how late the client itself was is reported
apart, as ``client_delay``, so that an overloaded client cannot pass for a slow server.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from penstock.bench.client import Target, explain, open_client, stream
from penstock.bench.workload import Item
from penstock.core.errors import PenstockError
from penstock.workload.metrics.records import Record

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class Load:
    """How a workload is put on the server."""

    concurrency: int = 0
    """Most requests in flight; 0 does not bound them."""
    warmups: int = 0
    """Requests sent one after the other beforehand and left out of the figures: the first ones, with their
    prompts reversed, so that none of what is measured is found in a prefix cache."""
    ready_timeout: float = 60.0
    """Seconds to wait for the server to answer at all; 0 asks once."""


@dataclass(slots=True)
class Run:
    """What a run saw."""

    records: list[Record]
    """In order of due time."""
    duration: float
    """Seconds from the first request sent to the last one ended."""
    peak_concurrency: int
    """Most requests that were in flight at one time."""


async def discover(client: httpx.AsyncClient, timeout: float) -> dict[str, Any]:
    """Wait until the server lists its models and return the first one's entry.

    Raises:
        PenstockError: no answer within the time, or not an OpenAI-compatible server.
    """
    import httpx

    deadline = time.monotonic() + timeout
    while True:
        try:
            response = await client.get("/v1/models")
            # 503 is a server that is still loading; every other answer will not change by waiting.
            if response.status_code == 200 and response.json().get("data"):
                entry: dict[str, Any] = response.json()["data"][0]
                return entry
            problem = explain(response.status_code, response.content)
            if response.status_code != 503:
                raise PenstockError(f"{client.base_url}v1/models: {problem}")
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if time.monotonic() >= deadline:
            raise PenstockError(f"no OpenAI-compatible server answers at {client.base_url} ({problem})")
        await asyncio.sleep(0.5)


async def run_load(
    target: Target,
    items: Sequence[Item],
    load: Load,
    on_done: Callable[[Record], None] | None = None,
) -> Run:
    """Send the items as they fall due and wait for all of them.

    Args:
        target: where to and how.
        items: in order of due time.
        load: concurrency and warm-ups.
        on_done: called with each record as its request ends, for a progress bar.

    Raises:
        PenstockError: a warm-up failed, so nothing that follows could be trusted.
        ConfigError: an item cannot be sent to the endpoint.
    """
    for item in items:
        target.body(item)  # refuses what the endpoint cannot take before anything is sent
    async with open_client(target) as client:
        for item in list(items)[: load.warmups]:
            record = await stream(client, target, reversed_prompt(item))
            if not record.ok:
                raise PenstockError(f"the warm-up request failed: {record.error}")
        return await _measure(client, target, items, load.concurrency, on_done)


def reversed_prompt(item: Item) -> Item:
    """Return the item with its prompt back to front: as long, but sharing no cached prefix with it."""
    prompt = item.prompt
    if isinstance(prompt, str):
        return replace(item, prompt=" ".join(reversed(prompt.split())))
    if prompt and isinstance(prompt[0], int):
        return replace(item, prompt=prompt[::-1])
    return item


async def _measure(
    client: httpx.AsyncClient,
    target: Target,
    items: Sequence[Item],
    concurrency: int,
    on_done: Callable[[Record], None] | None,
) -> Run:
    gate = asyncio.Semaphore(concurrency) if concurrency else contextlib.nullcontext()
    flying = peak = 0
    start = time.perf_counter()

    async def one(item: Item) -> Record:
        nonlocal flying, peak
        async with gate:
            # Behind a gate, waiting for a turn is the workload's doing and no delay of the client.
            due = None if concurrency else start + item.due
            flying += 1
            peak = max(peak, flying)
            try:
                record = await stream(client, target, item, due)
            finally:
                flying -= 1
        if on_done:
            on_done(record)
        return record

    async with asyncio.TaskGroup() as group:
        tasks = []
        for item in items:
            wait = start + item.due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.append(group.create_task(one(item)))
    records = [task.result() for task in tasks]
    first = min((record.arrival for record in records), default=start)
    return Run(records, time.perf_counter() - first, peak)
