"""Objectives as the scheduler's business: step budgets by the tightest TPOT, order by deadline, goodput.

Half a minute a seed on one idle core.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.core.request import SLO
from penstock.cost.hardware import hardware
from penstock.cost.models import model_shape
from penstock.cost.roofline import Roofline, kv_blocks
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.simulated import simulate
from penstock.sim.build import capacities
from penstock.workload.driver import OpenLoop
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest

CLASSES = (
    # share, prompt mean, output mean, objectives
    (0.5, 512, 128, SLO(ttft=0.5, tpot=0.03)),
    (0.3, 1024, 256, SLO(ttft=2.0, tpot=0.06)),
    (0.2, 6144, 128, SLO(ttft=15.0, tpot=0.15)),
)
"""Live completion, chat and summaries of long documents: (share, prompt mean, output mean, objectives)."""


def requests(rate: float, seconds: float, seed: int) -> list[TraceRequest]:
    """Return Poisson arrivals of the three classes; lengths are lognormal with a deviation of 0.6."""
    rng = np.random.default_rng(seed)
    shares = [share for share, *_ in CLASSES]
    found: list[TraceRequest] = []
    now = 0.0
    while (now := now + float(rng.exponential(1 / rate))) < seconds:
        _, prompt, output, slo = CLASSES[rng.choice(len(CLASSES), p=shares)]
        lengths = np.exp(rng.normal(-0.18, 0.6, 2)) * (prompt, output)
        sizes = np.clip(np.rint(lengths), 1, 16384).astype(int).tolist()
        number = len(found)
        found.append(
            TraceRequest(
                id=f"r{number}",
                arrival=now,
                prompt=(Span(number + 1, sizes[0]),),
                output_tokens=sizes[1],
                slo=slo,
            )
        )
    return found


STACKS: dict[str, dict[str, Any]] = {
    "chunked_fcfs": {"shape": "chunked", "order": "fcfs"},
    "chunked_edf": {"shape": "chunked", "order": "edf"},
    "slo_fcfs": {"shape": "slo", "order": "fcfs"},
    "slo_edf": {"shape": "slo", "order": "edf"},
    "slo_feasible": {"shape": "slo", "order": "edf-feasible"},
}


def run(stack: str, load: list[TraceRequest], budget: int = 2048) -> Collector:
    """Serve a load with Llama-3.1-8B on an H100."""
    model, card = model_shape("llama-3.1-8b"), hardware("h100")
    spec = capacities(kv_blocks(card, model), slots=256)
    setting = {"max_num_seqs": 256, "max_num_batched_tokens": budget, **STACKS[stack]}
    return simulate(Roofline(model, card), spec, OpenLoop(load), **setting)


def _goodput(stack: str, seconds: float, seed: int, halvings: int) -> float:
    """Return the largest rate at which 90 % of the requests meet all their objectives, by bisection."""
    low, high = 2.0, 40.0
    for _ in range(halvings):
        rate = (low * high) ** 0.5
        met = run(stack, requests(rate, seconds, seed)).summary()["own_slo_attainment"]
        low, high = (rate, high) if met >= 0.9 else (low, rate)
    return low


@experiment(
    "slo-goodput",
    row="20",
    system="slo",
    kind="simulated",
    title="Mixed objectives on one H100: requests/s with 90 % attainment, slo + edf over chunked + fcfs",
    bars=(
        Bar("goodput_ratio", floor=1.2, paper="no paper: the objective is ours"),
        Bar("attainment_ratio_at_16", floor=1.2, paper="no paper"),
    ),
)
def goodput(seed: int, quick: bool) -> dict[str, float]:
    """Search each stack's goodput on `CLASSES`, and compare all of them at 16 requests/s."""
    seconds, halvings = (15.0, 3) if quick else (60.0, 7)
    names = ("chunked_fcfs", "slo_edf") if quick else tuple(STACKS)
    load = requests(16.0, seconds, seed)
    met = {name: run(name, load).summary()["own_slo_attainment"] for name in names}
    base = _goodput("chunked_fcfs", seconds, seed, halvings)
    best = _goodput("slo_edf", seconds, seed, halvings)
    return {
        "goodput_ratio": best / base,
        "goodput_chunked_fcfs": base,
        "goodput_slo_edf": best,
        "attainment_ratio_at_16": met["slo_edf"] / met["chunked_fcfs"],
        **{f"attainment_{name}": float(value) for name, value in met.items()},
    }
