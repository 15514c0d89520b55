"""How well a simulation foretells a real run: the same requests and scheduler, measured and simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.executor import ExecutorSpec
from penstock.core.policy import StepCost
from penstock.cost.host import HostTimes
from penstock.policies.route.round_robin import RoundRobin
from penstock.sim.build import replica_maker
from penstock.sim.simulation import Simulation
from penstock.workload.driver import Driver
from penstock.workload.metrics.collector import Collector
from penstock.workload.metrics.percentiles import summarise
from penstock.workload.metrics.summary import latencies

METRICS = ("ttft", "tpot", "e2el")
FIGURES = tuple(f"{kind}_{metric}_ms" for metric in METRICS for kind in ("mean", "median", "p90", "p99"))


class Compared(NamedTuple):
    """One figure, measured and simulated, in milliseconds."""

    figure: str
    measured: float
    simulated: float

    @property
    def error(self) -> float:
        """Relative error of the simulation."""
        return self.simulated / self.measured - 1.0 if self.measured else 0.0


def simulate(
    driver: Driver,
    spec: ExecutorSpec,
    schedule: ScheduleConfig,
    cache: CacheConfig,
    cost: StepCost,
    host: HostTimes,
    observe: Callable[..., None] | None = None,
) -> Collector:
    """Run a driver on one simulated engine and return what was collected.

    Args:
        driver: a fresh one.
        spec: capacities of the real executor.
        schedule: resolved settings of the real engine.
        cache: likewise.
        cost: calibrated step times.
        host: calibrated times between steps.
        observe: called with every step.
    """
    collector = Collector()
    maker = replica_maker(spec, cost, schedule, cache, host, observe, ready=host.ready)
    Simulation([maker], driver, collector, RoundRobin()).run()
    return collector


def compare(measured: Collector, simulated: Collector) -> list[Compared]:
    """Set the figures of two runs side by side."""
    return compare_pooled([(measured, simulated)])


def compare_pooled(runs: Sequence[tuple[Collector, Collector]]) -> list[Compared]:
    """Set the figures of several runs, their requests pooled, beside those of their simulations."""
    real, virtual = (_pooled([pair[side] for pair in runs]) for side in (0, 1))
    return [Compared(name, real[name], virtual[name]) for name in FIGURES]


def _pooled(collectors: Sequence[Collector]) -> dict[str, float]:
    samples: dict[str, list[float]] = {}
    for collector in collectors:
        served = collector.columns["ok"] > 0
        for metric, seconds in latencies(collector.columns, served).items():
            samples.setdefault(metric, []).extend(seconds[np.isfinite(seconds)].tolist())
    return {
        key: float(value)
        for metric in METRICS
        for key, value in summarise(metric, np.asarray(samples[metric]), (50.0, 90.0, 99.0)).items()
    }
