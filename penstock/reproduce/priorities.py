"""Priorities inside one engine, as Llumnix has them across many: overtaking, displacing, and headroom.

Ten seconds a seed on one idle core.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from penstock.cost.hardware import hardware
from penstock.cost.models import model_shape
from penstock.cost.roofline import Roofline
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.simulated import simulate
from penstock.sim.build import capacities
from penstock.workload.driver import OpenLoop
from penstock.workload.lengths import Independent, Lengths
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest

BLOCKS = 851
"""Of 16 tokens: LLaMA-7B on an A10 of 24 GB, as in the paper's simulator."""
SHARE = 0.1
"""Of the requests are urgent, as in the paper."""
STACKS: dict[str, dict[str, Any]] = {
    "none": {"order": "fcfs", "reserve": "known"},
    "order": {"order": "priority > fcfs", "reserve": "known"},
    "headroom": {"order": "priority > fcfs", "reserve": "headroom(0.5)"},
}


def requests(count: int, rate: float, cv: float, seed: int) -> list[TraceRequest]:
    """Return short requests (power laws of mean 128) with Gamma gaps of a coefficient of variation."""
    gaps, lengths, urgent = np.random.SeedSequence(seed).spawn(3)
    rng = np.random.default_rng(gaps)
    times = np.cumsum(rng.gamma(1 / cv**2, cv**2 / rate, count)).tolist()
    zipf = Lengths("zipf", 128, 2.0)
    sizes = islice(Independent(zipf, zipf).draws(lengths), count)
    high = np.random.default_rng(urgent).random(count) < SHARE
    return [
        TraceRequest(
            id=f"r{number}",
            arrival=time,
            prompt=(Span(number + 1, prompt),),
            output_tokens=output,
            tenant="urgent" if high[number] else "normal",
            priority=-1 if high[number] else 0,
        )
        for number, (time, (prompt, output)) in enumerate(zip(times, sizes, strict=True))
    ]


def run(stack: str, load: list[TraceRequest]) -> Collector:
    """Serve a load with LLaMA-7B on one A10."""
    cost = Roofline(model_shape("llama-2-7b"), hardware("a10g"))
    setting: dict[str, Any] = {"max_num_seqs": 256, "max_num_batched_tokens": 512, **STACKS[stack]}
    return simulate(cost, capacities(BLOCKS, slots=256), OpenLoop(load), **setting)


@experiment(
    "priorities",
    row="13b",
    system="priorities",
    kind="simulated",
    title="One request in ten is urgent; one A10 at 26 / 16 requests/s, gaps of CV 4 and 8",
    bars=(
        Bar("e2e", floor=1.1, paper="1.2 to 1.5x lower mean E2E of urgent requests (16 instances)"),
        Bar("prefill", floor=2.0, paper="2.9 to 8.6x lower mean prefill latency (16 instances)"),
        Bar("prefill_p99", floor=2.0, paper="3.6 to 10x lower P99 prefill latency (16 instances)"),
    ),
)
def priorities(seed: int, quick: bool) -> dict[str, float]:
    """Compare what the urgent requests see with priorities and headroom, and without either.

    Figures without a suffix are means over both coefficients of variation; ``normal_e2e`` is what it costs
    the others.
    """
    names = {
        "mean_e2el_ms": "e2e",
        "mean_ttft_ms": "prefill",
        "p99_ttft_ms": "prefill_p99",
        "mean_tpot_ms": "tpot",
    }
    figures: dict[str, float] = {}
    for cv in (4, 8):
        load = requests(200 if quick else 2000, 26 / 16, cv, seed)
        found = {name: run(name, load).by_tenant() for name in STACKS}
        for stack, suffix in (("headroom", f"_cv{cv}"), ("order", f"_order_cv{cv}")):
            for key, name in names.items():
                ratio = found["none"]["urgent"][key] / found[stack]["urgent"][key]
                figures[name + suffix] = float(ratio)
        normal = found["none"]["normal"]["mean_e2el_ms"] / found["headroom"]["normal"]["mean_e2el_ms"]
        figures[f"normal_e2e_cv{cv}"] = float(normal)
    means = {name: (figures[f"{name}_cv4"] + figures[f"{name}_cv8"]) / 2 for name in names.values()}
    return means | figures
