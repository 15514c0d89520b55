"""What simulated experiments share: one run, and the recorded lengths that they draw from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.executor import ExecutorSpec
from penstock.core.policy import StepCost
from penstock.policies.route.round_robin import RoundRobin
from penstock.sim.build import replica_maker
from penstock.sim.executor import StepSeen
from penstock.sim.simulation import Simulation
from penstock.workload.driver import Driver
from penstock.workload.lengths import Joint, Pairs
from penstock.workload.metrics.collector import Collector

STAND_INS = {"sharegpt_8k": (2340, 1.0, 439, 0.5, 8192), "arxiv_summarization": (2590, 0.35, 295, 0.6, 4096)}
"""Where a table is missing: mean and sigma of lognormal prompts, the same of outputs, and the longest sum."""


def simulate(
    cost: StepCost,
    spec: ExecutorSpec,
    driver: Driver,
    *,
    mode: Literal["light", "exact"] = "light",
    observe: Callable[[StepSeen], None] | None = None,
    until: float = float("inf"),
    caching: bool = False,
    **schedule: Any,
) -> Collector:
    """Run a driver on one simulated replica and return what was noted.

    Args:
        cost: step times.
        spec: capacities of the device.
        driver: who sends requests.
        mode: see `Collector`.
        observe: called with every step.
        until: virtual seconds after which the run is cut off.
        caching: whether prompt prefixes are reused.
        schedule: fields of `ScheduleConfig`; everybody is admitted, first come first served, unless they say
            otherwise.
    """
    config = ScheduleConfig(**{"admit": "unlimited", "order": "fcfs", "preempt": "newest", **schedule})
    collector = Collector(mode)
    maker = replica_maker(spec, cost, config, CacheConfig(enable_prefix_caching=caching), observe=observe)
    Simulation([maker], driver, collector, RoundRobin()).run(until)
    return collector


def data_folder() -> Path | None:
    """Return the folder of public measurements: PENSTOCK_DATA, or ``shared/data`` here or further up."""
    named = os.environ.get("PENSTOCK_DATA")
    here = Path.cwd()
    roots = [Path(named)] if named else [p / "shared" / "data" for p in (here, *here.parents)]
    return next((root for root in roots if root.is_dir()), None)


def recorded_lengths(name: str) -> tuple[Pairs, bool]:
    """Return the lengths of ``lengths/<name>_llama2.csv``, or a lognormal stand-in without the file.

    Returns:
        The lengths, and whether they are the recorded ones.
    """
    folder = data_folder()
    path = folder / "lengths" / f"{name}_llama2.csv" if folder is not None else None
    if path is not None and path.is_file():
        rows = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1)).astype(np.int64)
        return Joint(np.maximum(rows[:, 0], 1), np.maximum(rows[:, 1], 1)), True
    mean_in, sigma_in, mean_out, sigma_out, longest = STAND_INS[name]
    rng = np.random.default_rng(0)
    prompts = rng.lognormal(np.log(mean_in) - sigma_in**2 / 2, sigma_in, 20000)
    outputs = rng.lognormal(np.log(mean_out) - sigma_out**2 / 2, sigma_out, 20000)
    outputs = np.clip(outputs, 1, longest // 4).astype(np.int64)
    return Joint(np.clip(prompts, 1, longest - outputs).astype(np.int64), outputs), False
