"""How fast the simulator is: one 70B replica for an hour, and a fleet of 64 with a million requests.

    python benchmarks/simulator_speed.py hour
    python benchmarks/simulator_speed.py fleet [--requests 1000000] [--save benchmarks/results]

The fleet is routed round-robin, so that it falls into independent parts: each of --processes simulates its
share of the replicas and of the requests, as one process would.

Lengths follow the Azure 2023 conversation trace's means (1,155 prompt and 211 output tokens) as lognormals.
The cost model is the roofline of Llama-3.1-70B on 8 H100; everything else is the code that serves. Wall time
and memory are measured here; the served figures are simulated.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from penstock.bench.machine import machine, versions
from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.cost.spec import load_cost
from penstock.policies.route.round_robin import RoundRobin
from penstock.sim.build import capacities, replica_maker
from penstock.sim.simulation import Simulation
from penstock.workload.driver import OpenLoop
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest

BLOCKS = 80_000
"""Pages of 16 tokens that fit beside the weights of a 70B model in 8 x 80 GB (320 KiB a token)."""


def requests(count: int, rate: float, seed: int = 0) -> Iterator[TraceRequest]:
    """Poisson arrivals; drawn in batches, so that a million cost little and are never all in memory."""
    rng, now, batch = np.random.default_rng(seed), 0.0, 4096
    for start in range(0, count, batch):
        gaps = rng.exponential(1 / rate, batch)
        prompts = np.clip(rng.lognormal(np.log(1155) - 0.5, 1.0, batch), 1, 16_000).astype(int)
        outputs = np.clip(rng.lognormal(np.log(211) - 0.32, 0.8, batch), 1, 4_000).astype(int)
        for i in range(min(batch, count - start)):
            now += gaps[i]
            number = start + i + 1
            yield TraceRequest(
                id=str(number),
                arrival=now,
                prompt=(Span(number, int(prompts[i])),),
                output_tokens=int(outputs[i]),
            )


def run(replicas: int, count: int, rate: float, caching: bool, seed: int = 0) -> dict[str, float]:
    """Simulate some replicas and return the figures."""
    maker = replica_maker(
        capacities(BLOCKS, slots=256),
        load_cost("roofline:llama-3.1-70b@h100x8"),
        ScheduleConfig(max_num_seqs=256, max_num_batched_tokens=2048, admit="unlimited"),
        CacheConfig(enable_prefix_caching=caching),
    )
    collector = Collector()
    with Progress(console=Console(stderr=True), disable=seed > 0) as bar:
        task = bar.add_task("requests", total=count)
        simulation = Simulation(
            [maker] * replicas,
            OpenLoop(requests(count, rate, seed)),
            collector,
            RoundRobin(),
            progress=lambda now, ended: bar.update(
                task, completed=ended, description=f"{now:,.0f} virtual s"
            ),
        )
        gc.collect()
        gc.freeze()
        begun = time.perf_counter()
        virtual = simulation.run()
        wall = time.perf_counter() - begun
    summary = collector.summary()
    return {
        "output_tokens": summary["total_output_tokens"],
        "steps": sum(replica.core.stats().steps for replica in simulation.replicas),
        "virtual_seconds": float(virtual),
        "loop_seconds": wall,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "simulated_mean_ttft_ms": summary["mean_ttft_ms"],
        "simulated_p99_ttft_ms": summary["p99_ttft_ms"],
        "simulated_mean_tpot_ms": summary["mean_tpot_ms"],
        "completed": summary["completed"],
    }


def shards(processes: int, replicas: int, count: int, rate: float, caching: bool) -> dict[str, float]:
    """Run the shares side by side and put their figures together."""
    shares = [
        (replicas // processes, count // processes, rate / processes, caching, n) for n in range(processes)
    ]
    begun = time.perf_counter()
    if processes == 1:
        parts = [run(*shares[0])]
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            parts = pool.starmap(run, shares)
    wall = time.perf_counter() - begun
    added = ("output_tokens", "steps", "peak_memory_gib", "completed")
    figures = {name: sum(part[name] for part in parts) for name in added}
    figures |= {name: max(part[name] for part in parts) for name in parts[0] if name not in added}
    return figures | {
        "wall_seconds": wall,
        "speed_up_over_real_time": figures["virtual_seconds"] / wall,
        "core_microseconds_per_token": 1e6 * wall * processes / figures["output_tokens"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("case", choices=("hour", "fleet"))
    parser.add_argument("--requests", type=int, default=0, help="instead of the case's own number")
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second and replica")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--prefix-caching", action="store_true")
    parser.add_argument("--save", type=Path, help="folder for the JSON")
    args = parser.parse_args()
    replicas, count = (1, 36_000) if args.case == "hour" else (64, 1_000_000)
    count = args.requests or count
    figures = shards(args.processes, replicas, count, args.rate * replicas, args.prefix_caching)
    for name, value in figures.items():
        print(f"{name:28s} {value:,.2f}")
    if args.save:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        path = args.save / f"simulator-{args.case}-{stamp}.json"
        settings = {
            "replicas": replicas,
            "requests": count,
            "processes": args.processes,
            "rate_per_replica": args.rate,
            "prefix_caching": args.prefix_caching,
        }
        path.write_text(
            json.dumps(
                {"machine": machine(), "versions": versions(), "settings": settings, **figures}, indent=1
            )
        )
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
