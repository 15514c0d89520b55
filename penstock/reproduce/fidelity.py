"""The simulator against this machine: recorded real runs of the bundled model and their simulations.

The speed of a shared machine drifts within a minute, so three policies take turns in short slices, each round
with a probe under one of them, and what is compared is pooled over the rounds. The cost model is fitted to
the probes alone, and steps scatter around it as the probes' did. Every slice's arrivals are simulated under
its own policies. Its journal is also replayed: fed the recorded times, the scheduler must take every decision
again.
About six minutes on two idle cores; half a minute when quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from penstock.bench.calibrate import calibrate, samples
from penstock.bench.fidelity import compare_pooled, simulate
from penstock.bench.paced import PacedRun
from penstock.bench.probe import Probe
from penstock.config.settings import CacheConfig, Config, ScheduleConfig
from penstock.core.executor import Executor, ExecutorSpec
from penstock.engine.core import build_engine
from penstock.engine.journal import read_journal
from penstock.reproduce.base import Bar, experiment
from penstock.sim.replay import replay
from penstock.workload.driver import OpenLoop
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest

VARIANTS = {
    "chunked": {"shape": "chunked", "max_num_batched_tokens": 512},
    "fine": {"shape": "chunked", "max_num_batched_tokens": 64},
    "whole": {"shape": "prefill-first", "max_num_batched_tokens": 2048},
}
"""Policies told apart by mean TTFT and by mean TPOT."""
ROUNDS = 6
LOAD = 0.6
"""Share of the engine's measured capacity that arrivals ask for."""


class _Real(NamedTuple):
    """One real run."""

    schedule: ScheduleConfig
    collector: Collector
    journal: list[bytes]


def _requests(seconds: float, rate: float, longest: int, seed: int) -> Iterator[TraceRequest]:
    """Poisson arrivals; lognormal lengths like a chat's, shortened to the model's context."""
    rng, now, number = np.random.default_rng(seed), 0.0, 0
    while (now := now + float(rng.exponential(1 / rate))) < seconds:
        prompt = int(np.clip(rng.lognormal(5.5, 0.8), 8, longest // 2))
        output = int(np.clip(rng.lognormal(4.0, 0.6), 4, longest // 4))
        number += 1
        yield TraceRequest(id=f"r{number}", arrival=now, prompt=(Span(number, prompt),), output_tokens=output)


class _Bench:
    """The bundled model's executor, and engines around it one after the other."""

    def __init__(self) -> None:
        from penstock.executors.inline import build_executor

        built = build_executor(Config())
        assert built.config is not None
        self.executor: Executor = built
        self.spec: ExecutorSpec = built.spec()
        self.schedule: ScheduleConfig = built.config.schedule
        self.cache: CacheConfig = built.config.cache

    def run(self, driver: Any, **changes: Any) -> _Real:
        """Run a driver on a fresh engine."""
        schedule = msgspec.structs.replace(self.schedule, **changes)
        lines: list[bytes] = []
        engine = build_engine(self.executor, schedule, self.cache, journal=lines.append)
        collector = Collector()
        PacedRun(engine, collector, self.spec.vocab_size).run(driver)
        return _Real(schedule, collector, lines)


def _capacity(bench: _Bench, seed: int) -> float:
    """Requests per second that the engine serves when it is never idle."""
    rows = _requests(1e9, 1.0, bench.spec.max_model_len, seed + 1000)
    requests = [msgspec.structs.replace(next(rows), arrival=0.0) for _ in range(96)]
    real = bench.run(OpenLoop(requests))
    return float(real.collector.summary()["request_throughput"])


@experiment(
    "fidelity-cpu",
    row="F",
    system="simulator",
    kind="real",
    title="Real runs of the bundled model on this machine against their simulation",
    bars=[
        Bar("step_mape", ceiling=0.10),
        Bar("mean_ttft_error", ceiling=0.05),
        Bar("mean_tpot_error", ceiling=0.05),
        Bar("mean_e2el_error", ceiling=0.05),
        Bar("p99_error", ceiling=0.15),
        Bar("ranking_kept", floor=1.0),
        Bar("replay_differences", ceiling=0.0),
    ],
)
def fidelity_cpu(seed: int, quick: bool) -> dict[str, float]:
    """Take turns, fit to the probes, simulate the slices, replay their journals."""
    bench = _Bench()
    rounds, seconds, probing = (3, 3.0, 3.0) if quick else (ROUNDS, 10.0, 14.0)
    rate = LOAD * _capacity(bench, seed)
    longest = bench.spec.max_model_len
    probes: list[_Real] = []
    slices: dict[str, list[tuple[int, _Real]]] = {name: [] for name in VARIANTS}
    for turn in range(rounds):
        number = seed * 100 + turn
        own = list(VARIANTS.values())[turn % len(VARIANTS)]
        probes.append(bench.run(Probe(probing, longest, 64, number), **own))
        for name, changes in VARIANTS.items():
            driver = OpenLoop(_requests(seconds, rate, longest, number))
            slices[name].append((number, bench.run(driver, **changes)))
    fitted = calibrate([s for probe in probes for s in samples(read_journal(probe.journal))])
    figures = {"step_mape": fitted.held_out_mape, "rate": rate, "replay_differences": 0.0}
    means: dict[str, dict[str, tuple[float, float]]] = {}
    worst: dict[str, float] = {}
    for name, runs in slices.items():
        pairs = []
        for number, real in runs:
            driver = OpenLoop(_requests(seconds, rate, longest, number))
            cost = fitted.scatter.drawn(fitted.cost, number)
            virtual = simulate(driver, bench.spec, real.schedule, bench.cache, cost, fitted.host)
            pairs.append((real.collector, virtual))
            again = replay(read_journal(real.journal))
            figures["replay_differences"] += again.difference is not None
            figures["steps_replayed"] = figures.get("steps_replayed", 0.0) + again.steps
        for row in compare_pooled(pairs):
            figures[f"{name}_{row.figure}"] = row.measured
            figures[f"{name}_{row.figure}_simulated"] = row.simulated
            kind, metric, _ = row.figure.split("_")
            worst[f"{kind}_{metric}"] = max(worst.get(f"{kind}_{metric}", 0.0), abs(row.error))
            if kind == "mean":
                means.setdefault(metric, {})[name] = (row.measured, row.simulated)
    for metric in ("ttft", "tpot", "e2el"):
        figures[f"mean_{metric}_error"] = worst[f"mean_{metric}"]
    figures["p99_error"] = max(worst[f"p99_{metric}"] for metric in ("ttft", "tpot", "e2el"))
    figures["ranking_kept"] = float(all(_same_ranking(pairs) for pairs in means.values()))
    return figures


def _same_ranking(pairs: dict[str, tuple[float, float]], apart: float = 0.05) -> bool:
    """Whether the simulation orders every two policies as measured, if these are measurably apart."""
    values = list(pairs.values())
    return all(
        (a[0] - b[0]) * (a[1] - b[1]) > 0
        for i, a in enumerate(values)
        for b in values[i + 1 :]
        if abs(a[0] - b[0]) > apart * min(a[0], b[0])
    )
