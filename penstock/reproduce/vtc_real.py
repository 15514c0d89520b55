"""VTC on a real server: two tenants that ask for more than there is, and a light one beside them.

``penstock serve`` with the bundled model in a process of its own, 4 sequences at a time so that the queue is
what matters. The light tenant's first tokens are timed alone (before and after) and beside the others, once
with ``vtc`` and once with `ORDER`, which gives it a place at once. About 110 s; the machine's other work
shows in the tails.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np

from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.live_server import Oversupply, Prompts, first_tokens, load_client, server

HEAVY = (64, 64)
"""Tokens asked and answered by each request of the tenants that send too much."""
LIGHT = (256, 8)
SHARE = 0.1
"""What the light tenant asks for, of the capacity that a first burst shows, within these rates."""
LEAST, MOST = 0.5, 3.0
SEQUENCES = 4
ORDER = "foothold(vtc(allowance=1000))"


def p99(seconds: Sequence[float]) -> float:
    """Return the nearest-rank 99th percentile."""
    return float(np.percentile(seconds, 99, method="inverted_cdf"))


def gaps(rng: np.random.Generator, rate: float, seconds: float) -> list[float]:
    """Return gaps of 1/rate, give or take 30 %, that fill so many seconds: its requests seldom meet."""
    drawn = rng.uniform(0.7, 1.3, int(2 * rate * seconds) + 10) / rate
    return drawn[np.cumsum(drawn) < seconds].tolist()  # type: ignore[no-any-return]


async def capacity(address: str, seed: int) -> float:
    """Return the service units per second of 3 s of oversupply."""
    load = Oversupply("first", SEQUENCES * 2, *HEAVY, Prompts(seed))
    async with load_client(address) as client:
        begin = time.perf_counter()
        await load.run(client, begin + 4.0)
    return load.service(begin + 1.0, begin + 4.0) / 3.0


async def alone(address: str, seed: int, rate: float, seconds: float) -> list[float]:
    """Time the light tenant's first tokens without anybody else."""
    prompts = Prompts(seed)
    async with load_client(address) as client:
        await first_tokens(client, address, "light", [0.05] * 5, LIGHT, prompts)
        times = gaps(np.random.default_rng(seed), rate, seconds)
        return await first_tokens(client, address, "light", times, LIGHT, prompts)


async def beside(address: str, seed: int, rate: float, seconds: float) -> tuple[float, list[float], float]:
    """Put two oversupplying tenants on the server, one twice as hard, and the light one beside them.

    Returns:
        Service of the first over the second, the light tenant's first tokens, service units per second.
    """
    prompts = Prompts(seed + 1)
    first = Oversupply("first", SEQUENCES * 2, *HEAVY, prompts)
    second = Oversupply("second", SEQUENCES * 4, *HEAVY, prompts)
    async with load_client(address) as client:
        begin = time.perf_counter()
        until = begin + seconds + 2.0
        loads = [asyncio.create_task(one.run(client, until)) for one in (first, second)]
        await asyncio.sleep(2.0)
        times = gaps(np.random.default_rng(seed), rate, seconds - 1.0)
        light = await first_tokens(client, address, "light", times, LIGHT, prompts)
        await asyncio.gather(*loads)
    span = (begin + 2.0, until)
    served = [one.service(*span) for one in (first, second)]
    return served[0] / served[1], light, sum(served) / seconds


def measure(order: str, seed: int, seconds: float, quiet: float) -> dict[str, float]:
    """Run a server with an order; return the ratio of service and the light tenant's tails."""
    flags = ("--max-num-seqs", str(SEQUENCES), "--order", order, "--reserve", "final")
    with server(*flags) as address:
        units = LIGHT[0] + 2 * LIGHT[1]
        rate = min(MOST, max(LEAST, SHARE * asyncio.run(capacity(address, seed)) / units))
        # Alone it may send twice as often and still meet nobody: more samples for the same time.
        before = asyncio.run(alone(address, seed, 2 * rate, quiet / 2))
        ratio, light, through = asyncio.run(beside(address, seed, rate, seconds))
        after = asyncio.run(alone(address, seed + 7, 2 * rate, quiet / 2))
    lone = before + after
    return {
        "ratio": ratio,
        "p99_ttft_ms": 1000 * p99(light),
        "p50_ttft_ms": 1000 * float(np.median(light)),
        "p99_ttft_alone_ms": 1000 * p99(lone),
        "p50_ttft_alone_ms": 1000 * float(np.median(lone)),
        "p99_over_alone": p99(light) / p99(lone),
        "units_per_s": through,
        "light_requests": len(light),
    }


@experiment(
    "vtc-real",
    row="1",
    system="vtc",
    kind="real",
    title="a real server: two tenants oversupply it for 60 s, a light third one keeps its first tokens",
    bars=(
        Bar("ratio", floor=0.95, ceiling=1.05, paper="equal service"),
        Bar("fcfs_ratio", ceiling=0.7, paper="service follows what is asked for, here 1 : 2"),
        Bar("p99_over_alone", ceiling=1.5),
    ),
)
def real(seed: int, quick: bool) -> dict[str, float]:
    """`ORDER` for 60 s; plain vtc and fcfs for 10 s each (all 4 s when quick)."""
    long, short, quiet = (4.0, 4.0, 6.0) if quick else (60.0, 10.0, 20.0)
    figures = measure(ORDER, seed, long, quiet)
    plain = measure("vtc", seed, short, 4.0)
    unfair = measure("fcfs", seed, short, 4.0)
    return figures | {
        "vtc_ratio": plain["ratio"],
        "vtc_p99_ttft_ms": plain["p99_ttft_ms"],
        "vtc_units_per_s": plain["units_per_s"],
        "fcfs_ratio": unfair["ratio"],
        "fcfs_p99_ttft_ms": unfair["p99_ttft_ms"],
        "fcfs_units_per_s": unfair["units_per_s"],
    }
