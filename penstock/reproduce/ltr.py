"""Learning-to-rank scheduling (vllm-ltr): the bound on idling, and what a ranker of tau 0.55 is worth.

In full, on one idle core: ``ltr-check`` a minute once, ``ltr-queue`` half a minute a seed, ``ltr-first`` 10 s
a seed. What runs for real is in `ltr_real`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from penstock.cost.hardware import hardware
from penstock.cost.models import model_shape
from penstock.cost.roofline import Roofline, kv_blocks
from penstock.predict.tau import kendall_tau
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.idling import Audit, draw, measure
from penstock.reproduce.simulated import recorded_lengths, simulate
from penstock.sim.build import capacities
from penstock.workload.driver import OpenLoop, Served, World
from penstock.workload.lengths import Independent, Lengths, Pairs
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest

TAU = 0.55
"""What the paper's ranker reaches on ShareGPT."""
SAMPLE = 2000
"""Requests on which it is measured."""
ENGINE: dict[str, Any] = {"max_num_seqs": 256, "max_num_batched_tokens": 2048}


@experiment(
    "ltr-check",
    row="3",
    system="ltr",
    kind="property",
    title="ltr: nobody idles longer than S + P ceil(promoted / capacity) steps, 1000 random runs",
    bars=(
        Bar("violations", ceiling=0, paper="S + P ceil(promoted / capacity): derived, not in the paper"),
        Bar("violations_without_displacing", floor=1, paper="the control must fail"),
    ),
    fixed=True,
)
def check(seed: int, quick: bool) -> dict[str, float]:
    """Measure every idle stretch of random overloads; the control's promoted may not displace anybody."""
    runs = 30 if quick else 1000
    guarded = [
        measure(load, lambda load: Audit(load.patience, load.period, "yes"))
        for load in map(draw, range(runs))
    ]
    control = [
        measure(load, lambda load: Audit(load.patience, load.period, "no"))
        for load in map(draw, range(min(runs, 100)))
    ]
    return {
        "runs": float(runs),
        "violations": float(sum(run.excess > 0 for run in guarded)),
        "closest": float(max(run.excess for run in guarded)),
        "longest_idle": float(max(run.longest for run in guarded)),
        "violations_without_displacing": float(sum(run.excess > 0 for run in control)),
    }


def _scores(outputs: np.ndarray, tau: float, rng: np.random.Generator) -> np.ndarray:
    """Return log lengths with just so much Gaussian noise that Kendall's tau to the truth is ``tau``."""
    logs, noise = np.log(outputs), rng.standard_normal(len(outputs))
    low, high = 0.0, 10.0
    for _ in range(20):
        middle = (low + high) / 2
        if kendall_tau(logs[:SAMPLE], (logs + middle * noise)[:SAMPLE]) > tau:
            low = middle
        else:
            high = middle
    found: np.ndarray = logs + low * noise
    return found


def _requests(pairs: Pairs, count: int, rate: float, seed: int) -> list[TraceRequest]:
    """Return requests with noisy predictions; ``rate`` 0 sends all of them at once."""
    lengths, noise, gaps = np.random.SeedSequence(seed).spawn(3)
    rng = np.random.default_rng(gaps)
    times = np.cumsum(rng.exponential(1 / rate, count)) if rate else np.zeros(count)
    drawn = list(islice(pairs.draws(lengths), count))
    scores = _scores(np.array([output for _, output in drawn]), TAU, np.random.default_rng(noise))
    return [
        TraceRequest(
            id=f"r{number}",
            arrival=float(time),
            prompt=(Span(number + 1, prompt),),
            output_tokens=output,
            length_score=float(score),
        )
        for number, (time, (prompt, output), score) in enumerate(zip(times, drawn, scores, strict=True))
    ]


def _oracle(requests: list[TraceRequest]) -> list[TraceRequest]:
    return [msgspec.structs.replace(r, length_score=float(r.output_tokens)) for r in requests]


def _tau(requests: list[TraceRequest]) -> float:
    some = requests[:SAMPLE]
    return kendall_tau([r.output_tokens for r in some], [r.length_score or 0.0 for r in some])


class _Device:
    """Llama-3-8B on an A100 of 40 GB, the paper's."""

    def __init__(self) -> None:
        model, card = model_shape("llama-3.1-8b"), hardware("a100-40g")
        self.cost = Roofline(model, card)
        self.spec = capacities(kv_blocks(card, model), slots=int(ENGINE["max_num_seqs"]))

    def run(self, driver: OpenLoop, order: str) -> Collector:
        return simulate(self.cost, self.spec, driver, order=order, **ENGINE)


@experiment(
    "ltr-queue",
    row="3",
    system="ltr",
    kind="simulated",
    title="Ranks of tau 0.55 against fcfs: 60 s of 16 requests/s, five times what the device can serve",
    bars=(
        Bar("fcfs_over_ltr", floor=2.0, paper="up to 2.8x lower latency per token (abstract)"),
        Bar("ltr_over_oracle", floor=1.0, paper="the oracle is the bound"),
        Bar("tau", floor=0.5, ceiling=0.6, paper="0.55 (ShareGPT, Llama-3-70B), 0.52 (8B)"),
    ),
)
def queue(seed: int, quick: bool) -> dict[str, float]:
    """Serve recorded ShareGPT lengths from a queue that grows, under each order; latency per output token."""
    pairs, measured = recorded_lengths("sharegpt_8k")
    requests = _requests(pairs, 200 if quick else 960, 16.0, seed)
    device = _Device()
    runs = {
        "fcfs": device.run(OpenLoop(requests), "fcfs"),
        "ltr": device.run(OpenLoop(requests), "ltr(200, 10)"),
        "oracle": device.run(OpenLoop(_oracle(requests)), "sjf"),
    }
    if not quick:
        runs["displacing"] = device.run(OpenLoop(requests), "ltr(200, 10, displace=yes)")
        runs["mlfq"] = device.run(OpenLoop(requests), "mlfq")
    found = {name: run.summary() for name, run in runs.items()}
    latency = {name: one["mean_normalized_latency_ms"] for name, one in found.items()}
    figures = {f"fcfs_over_{name}": latency["fcfs"] / ms for name, ms in latency.items() if name != "fcfs"}
    return {
        **figures,
        "ltr_over_oracle": latency["ltr"] / latency["oracle"],
        "fcfs_ms_per_token": latency["fcfs"],
        "ttft_fcfs_over_ltr": found["fcfs"]["mean_ttft_ms"] / found["ltr"]["mean_ttft_ms"],
        "p99_ttft_ltr_over_fcfs": found["ltr"]["p99_ttft_ms"] / found["fcfs"]["p99_ttft_ms"],
        "tau": _tau(requests),
        "measured_lengths": float(measured),
    }


class _Enough(Exception):
    pass


class _First(OpenLoop):
    """Stops the run when so many requests are served."""

    def __init__(self, requests: list[TraceRequest], most: int) -> None:
        super().__init__(requests)
        self._most = most

    def served(self, result: Served, world: World) -> None:
        """Count, and stop."""
        self._most -= 1
        self.finished = world.now()
        if not self._most:
            raise _Enough


class _FirstTurns(msgspec.Struct, frozen=True):
    """Recorded answer lengths behind short prompts: the first turn of a conversation, without its history."""

    table: Pairs
    prompts: Pairs

    def draws(self, seed: np.random.SeedSequence) -> Iterator[tuple[int, int]]:
        """See `Pairs`."""
        rows, short = seed.spawn(2)
        for (_, output), (prompt, _) in zip(self.table.draws(rows), self.prompts.draws(short), strict=True):
            yield prompt, output


def _seconds(device: _Device, requests: list[TraceRequest], order: str, most: int) -> float:
    driver = _First(requests, most)
    try:
        device.run(driver, order)
    except _Enough:
        return driver.finished
    raise AssertionError("the requests ran out")


@experiment(
    "ltr-first",
    row="3",
    system="ltr",
    kind="simulated",
    title="Synthetic data: the time until any 1000 of 10 000 prompts are answered",
    bars=(
        Bar("fcfs_over_ltr", floor=4.0, paper="up to 6.5x the throughput of synthetic data (abstract)"),
        Bar("fcfs_over_oracle", floor=4.0, paper="the oracle is the bound"),
    ),
)
def first(seed: int, quick: bool) -> dict[str, float]:
    """Queue all prompts at once and stop at the 1000th answer.

    Answers have recorded ShareGPT lengths. Prompts are first turns, as the paper sends them: lognormal with
    the mean of LMSYS-Chat-1M (69.5 tokens; Zheng et al. 2023, table 1) and a logarithmic deviation of 1.2.
    The recorded prompts, which carry whole conversations of 2340 tokens on average, are a figure without a
    bar: computing them takes most of the time under any order.
    """
    table, measured = recorded_lengths("sharegpt_8k")
    short = _FirstTurns(table, Independent(Lengths("lognormal", 69.5, 1.2), Lengths("fixed", 1)))
    count, most = (1000, 100) if quick else (10000, 1000)
    device = _Device()
    figures: dict[str, float] = {"measured_lengths": float(measured)}
    for name, pairs in (("", short), ("_whole_conversations", table)):
        requests = _requests(pairs, count, 0.0, seed)
        base = _seconds(device, requests, "fcfs", most)
        figures[f"fcfs_over_ltr{name}"] = base / _seconds(device, requests, "ltr(200, 10)", most)
        figures[f"fcfs_over_oracle{name}"] = base / _seconds(device, _oracle(requests), "sjf", most)
        figures[f"tau{name}"] = _tau(requests)
    return figures
