"""Workloads and figures themselves: BurstGPT's generator, goodput searches, and what reasoning models do to
a server.

Properties: gaps of the generator over 1e5 samples; failures of a written trace; a D/D/1 queue, whose
goodput is known. Simulated (one H100, Llama-3.1-8B roofline): the tail of TTFT under bursty and Poisson
arrivals of one mean rate, 80 % of what the device serves when saturated; batches of 64 questions put to a
reasoning model and to a plain one, lengths ours (`penstock.workload.suites.systems`), budget 8192 as in the
study.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from penstock.core.executor import ExecutorSpec
from penstock.cost.hardware import hardware
from penstock.cost.models import model_shape
from penstock.cost.roofline import kv_blocks
from penstock.cost.spec import load_cost
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.simulated import simulate
from penstock.sim.build import capacities
from penstock.sim.executor import StepSeen
from penstock.workload.arrivals import Arrivals, Gamma, Windows
from penstock.workload.driver import OpenLoop, Served, World
from penstock.workload.generate import Client, mix
from penstock.workload.lengths import Pairs
from penstock.workload.metrics.collector import Collector
from penstock.workload.readers.lines import ReadReport
from penstock.workload.readers.open import read_requests
from penstock.workload.request import Span, TraceRequest
from penstock.workload.search import Outcome, search_rate
from penstock.workload.suites.common import pairs
from penstock.workload.suites.systems import questions

MODEL = "llama-3.1-8b"
ALPHAS = (0.25, 0.5, 1.0, 2.0)
LOAD = 0.8
BATCH = 64
THINK = 0.85


def device() -> ExecutorSpec:
    """Return the capacities of an H100 with the model."""
    return capacities(kv_blocks(hardware("h100"), model_shape(MODEL), 1), slots=256)


def _first(arrivals: Arrivals, count: int, seed: int) -> np.ndarray:
    return np.fromiter(itertools.islice(arrivals.times(np.random.default_rng(seed)), count), float)


@experiment(
    "burstgpt-generator",
    row="19",
    system="workloads",
    kind="property",
    title="windowed Gamma arrivals: variation, exact scaling, failures of a trace",
    bars=(
        Bar("worst_cv_error", ceiling=0.05, paper="coefficient of variation 1/sqrt(shape)"),
        Bar("scaling_error", ceiling=0),
        Bar("failures_missed", ceiling=0, paper="a failure is a row with 0 response tokens"),
        Bar("rows_changed", ceiling=0),
    ),
)
def generator(seed: int, quick: bool) -> dict[str, float]:
    """1e5 gaps per shape (1e4 when quick), and a trace of 1,000 rows with known failures read back."""
    count = 10_000 if quick else 100_000
    errors = []
    for alpha in ALPHAS:
        gaps = np.diff(_first(Windows((alpha,), (2.0,)), count + 1, seed))
        errors.append(abs(gaps.std() / gaps.mean() * math.sqrt(alpha) - 1))
    mixed = ((0.25, 2.0), (2.0, 6.0))
    slow, fast = _first(Windows(*mixed), 5000, seed), _first(Windows(*mixed, speed=4.0), 5000, seed)
    rng = np.random.default_rng(seed)
    outputs = rng.integers(0, 12, 1000)
    rows = [(i, int(rng.integers(1, 99)), int(output)) for i, output in enumerate(outputs)]
    report = ReadReport()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        lines = [f"{at},ChatGPT,{asked},{said},{asked + said},API log\n" for at, asked, said in rows]
        path.write_text(
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n" + "".join(lines)
        )
        read = [
            (r.arrival, r.prompt_tokens, r.output_tokens)
            for r in read_requests(f"burstgpt:{path}", report=report)
        ]
    good = [row for row in rows if row[2]]
    return {
        "worst_cv_error": float(max(errors)),
        "scaling_error": float(np.abs(fast * 4 - slow).max()),
        "failures_missed": abs(sum(report.dropped.values()) - int((outputs == 0).sum())),
        "rows_changed": sum(
            (at - good[0][0], asked, said) != row
            for (at, asked, said), row in itertools.zip_longest(good, read, fillvalue=(math.nan, 0, 0))
        ),
    }


def _chat(arrivals: Arrivals, count: int, seed: int) -> Collector:
    lengths = pairs("lognormal:1155:0.8", "lognormal:211:0.6", longest=8192)
    driver = OpenLoop(mix([Client(arrivals=arrivals, pairs=lengths, count=count)], seed))
    return simulate(load_cost(f"{MODEL}@h100"), device(), driver, max_num_seqs=256)


@experiment(
    "burstgpt-tail",
    row="19",
    system="workloads",
    kind="simulated",
    title="P99 TTFT under arrivals of shape 0.25 against Poisson, both at 80 % load",
    bars=(Bar("p99_ttft_ratio", floor=2.0, paper="bursts lengthen the tail (BurstGPT); the bar is ours"),),
)
def tail(seed: int, quick: bool) -> dict[str, float]:
    """Run both arrival processes with the same lengths, 4,000 requests (400 when quick)."""
    count = 400 if quick else 4000
    rate = LOAD * _chat(Gamma(math.inf), count, seed).summary()["request_throughput"]
    bursty, poisson = (_chat(Gamma(rate, cv), count, seed).summary() for cv in (2.0, 1.0))
    return {
        "rate": rate,
        "bursty_p99_ttft_ms": bursty["p99_ttft_ms"],
        "poisson_p99_ttft_ms": poisson["p99_ttft_ms"],
        "p99_ttft_ratio": bursty["p99_ttft_ms"] / poisson["p99_ttft_ms"],
    }


def _deterministic_queue(service: float, rate: float) -> Outcome:
    """Run a D/D/1 queue whose requests must be answered within their service time."""
    made, free = Collector(), 0.0
    for number in range(200):
        arrival = number / rate
        free = max(free, arrival) + service
        name = str(number)
        request = TraceRequest(id=name, arrival=arrival, prompt=(Span(1, 1),), output_tokens=1)
        made.arrived(request, arrival)
        made.tokens(name, 1, free)
        made.finished(name, free, True)
    figures = made.summary({"ttft": service * (1 + 1e-6)})
    return Outcome(figures["slo_attainment"], bool(figures["unstable"]))


@experiment(
    "goodput-search",
    row="20",
    system="workloads",
    kind="property",
    title="goodput of a D/D/1 queue is 1 / service; searches bracket it and end at 2.5 %",
    bars=(
        Bar("worst_exact_error", ceiling=0, paper="1 / service exactly"),
        Bar("brackets_missed", ceiling=0),
        Bar("widest_bracket", ceiling=0.025, paper="searches of Sarathi-Serve end at 2.5 %"),
        Bar("not_monotone", ceiling=0),
    ),
)
def goodput(seed: int, quick: bool) -> dict[str, float]:
    """Search services that doubling meets exactly, and 50 random ones (5 when quick)."""
    exact = [
        abs(search_rate(partial(_deterministic_queue, service), 1 / 16).rate * service - 1)
        for service in (0.125, 0.5, 2.0)
    ]
    missed, widest, not_monotone = 0, 0.0, 0
    rng = np.random.default_rng(seed)
    for service in rng.uniform(0.05, 4.0, 5 if quick else 50).tolist():
        found = search_rate(partial(_deterministic_queue, service), 1.0)
        missed += not found.rate <= 1 / service <= found.limit
        widest = max(widest, (found.limit - found.rate) / found.limit)
        oks = [probe.ok for probe in found.probes]
        not_monotone += oks != sorted(oks, reverse=True)
    return {
        "worst_exact_error": max(exact),
        "brackets_missed": missed,
        "widest_bracket": widest,
        "not_monotone": not_monotone,
    }


class Batches:
    """Sends batches of requests, each when the one before is answered whole, as evaluation harnesses do."""

    def __init__(self, lengths: Pairs, batches: int, think: float, seed: int) -> None:
        self._draws = lengths.draws(np.random.SeedSequence(seed))
        self._left, self._think, self._open, self._sent = batches, think, 0, 0
        self._began = 0.0
        self._times: list[float] = []
        self.stretch: list[float] = []
        """Longest over mean time to completion, per batch."""

    def begin(self, world: World) -> None:
        """Send the first batch."""
        self._send(world)

    def _send(self, world: World) -> None:
        self._left, self._open, self._began, self._times = self._left - 1, BATCH, world.now(), []
        for _ in range(BATCH):
            prompt, output = next(self._draws)
            self._sent += 1
            world.submit(
                TraceRequest(
                    id=f"q{self._sent}",
                    arrival=world.now(),
                    prompt=(Span(self._sent, prompt),),
                    output_tokens=output,
                    think_tokens=int(output * self._think),
                )
            )

    def served(self, result: Served, world: World) -> None:
        """Send the next batch after the last of this one."""
        self._open -= 1
        self._times.append(result.finished - self._began)
        if not self._open:
            self.stretch.append(max(self._times) / (sum(self._times) / BATCH))
            if self._left:
                self._send(world)


def _study(plain: bool, think: float, batches: int, seed: int) -> dict[str, float]:
    contexts: list[tuple[float, float]] = []

    def note(step: StepSeen) -> None:
        contexts.append((step.end - step.start, step.plan.shape.kv_tokens + step.plan.shape.tokens))

    spec = device()
    driver = Batches(questions(8192, plain), batches, think, seed)
    collector = simulate(load_cost(f"{MODEL}@h100"), spec, driver, observe=note, max_num_seqs=256)
    figures = collector.summary()
    seconds, used = (np.array(column) for column in zip(*contexts, strict=True))
    mean = float(np.average(used, weights=seconds))
    deviation = math.sqrt(float(np.average((used - mean) ** 2, weights=seconds)))
    capacity = spec.blocks * spec.page_size
    return {
        "kv_cv": deviation / mean,
        "kv_swing": float(used.max() - used.min()) / capacity,
        "kv_deviation": deviation / capacity,
        "stretch": float(np.mean(driver.stretch)),
        "ttft_ms": figures["mean_ttft_ms"],
        "ttfvt_ms": figures["mean_ttfvt_ms"],
        "tokens_per_second": figures["output_throughput"],
    }


@experiment(
    "reasoning-service",
    row="18",
    system="reasoning models",
    kind="simulated",
    title="a reasoning model against a plain one: swings of KV use, stragglers, first visible token",
    bars=(
        Bar(
            "kv_deviation_ratio", floor=5.0, paper="KV use swings 3-70 % of the pool, plain models below 3 %"
        ),
        Bar("stretch", floor=3.0, paper="stragglers stretch batches"),
        Bar("ttfvt_over_ttft", floor=1.0, paper="first visible token waits for the thought"),
        Bar("shown_ttfvt_over_ttft", floor=1.0, ceiling=1.0),
    ),
)
def reasoning(seed: int, quick: bool) -> dict[str, float]:
    """Three batches (one when quick) of each; a swing is most minus least use, as a share of the pool.

    The deviation over the mean (``kv_cv_ratio``) points the other way: a plain model's use falls to nothing
    between its short batches too, and its mean is small.
    """
    batches = 1 if quick else 3
    thinking = _study(False, THINK, batches, seed)
    shown = _study(False, 0.0, batches, seed)
    plain = _study(True, 0.0, batches, seed)
    runs = (("reasoning", thinking), ("plain", plain))
    figures = {f"{name}_{key}": value for name, run in runs for key, value in run.items()}
    return figures | {
        "kv_swing_ratio": thinking["kv_swing"] / plain["kv_swing"],
        "kv_deviation_ratio": thinking["kv_deviation"] / plain["kv_deviation"],
        "kv_cv_ratio": thinking["kv_cv"] / plain["kv_cv"],
        "stretch": thinking["stretch"],
        "ttfvt_over_ttft": thinking["ttfvt_ms"] / thinking["ttft_ms"],
        "shown_ttfvt_over_ttft": shown["ttfvt_ms"] / shown["ttft_ms"],
    }
