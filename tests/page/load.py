"""Put several tenants on a running server, so that its live view has something to show.

Usage: python -m tests.page.load http://127.0.0.1:8000 [SECONDS]
"""

import asyncio
import random
import sys
import time

import httpx

TENANTS = {"search": 9, "support": 6, "batch-night": 12, "notebook": 2}
"""Requests that each tenant keeps open."""

PREFIX = "You are the assistant of a hydro power plant. Answer in plain words and be kind. " * 6
ASKS = (
    "Tell me a story about a fox.",
    "Count from 1 to 40.",
    "List five fruits.",
    "What is a KV cache?",
    "Tell me a story about a river and a mill.",
    "What is 12 plus 30?",
)


async def one(client, tenant, rng):
    messages = [
        {"role": "system", "content": PREFIX},
        {"role": "user", "content": f"{rng.choice(ASKS)} {'Please. ' * rng.randrange(20)}"},
    ]
    body = {"messages": messages, "tenant": tenant, "max_tokens": rng.randrange(20, 160), "stream": True}
    body |= {"ignore_eos": rng.random() < 0.3}
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            await asyncio.sleep(0.5)
        async for _ in reply.aiter_bytes():
            pass


async def load(url, seconds):
    ends = time.monotonic() + seconds

    async def worker(tenant, rng):
        while time.monotonic() < ends:
            await one(client, tenant, rng)
            await asyncio.sleep(rng.random() * 0.3)

    async with httpx.AsyncClient(
        base_url=url, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as client:
        workers = [
            worker(name, random.Random(f"{name} {i}")) for name, n in TENANTS.items() for i in range(n)
        ]
        await asyncio.gather(*workers)


if __name__ == "__main__":
    asyncio.run(load(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 30.0))
