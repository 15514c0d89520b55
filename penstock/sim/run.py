"""One simulated run from plain data: which workload, on what, under which policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import ConfigError
from penstock.core.executor import ExecutorSpec
from penstock.core.output import Output
from penstock.core.policy import RoutePolicy
from penstock.cost.hardware import Hardware
from penstock.cost.model import CostModel
from penstock.cost.roofline import Roofline, kv_blocks
from penstock.cost.shapes import ModelShape
from penstock.cost.spec import Target, load_cost, parse_target
from penstock.policies.parse import parse_policy
from penstock.sim.build import capacities, replica_maker
from penstock.sim.chrome import ChromeTrace
from penstock.sim.executor import StepSeen
from penstock.sim.host import parse_host, watched
from penstock.sim.run_series import Series
from penstock.sim.run_source import open_driver
from penstock.sim.simulation import MakeReplica, Simulation
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import TraceRequest

Stopwatch = Callable[[], float]
Progress = Callable[[float, int], None]
"""Told now and then: virtual seconds, requests ended."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides a run. Plain data: it can be saved, sent to another process, or varied."""

    workload: str
    """What `penstock.sim.run_source.open_driver` reads."""
    cost: str
    """What `penstock.cost.spec.load_cost` reads."""
    replicas: int = 1
    route: str = "least-load"
    schedule: ScheduleConfig = ScheduleConfig()
    cache: CacheConfig = CacheConfig()
    slo: dict[str, float] = {}
    """Objectives in seconds by metric: ttft, tpot, e2el."""
    seed: int = 0
    rate: float = 0.0
    """Requests per second; 0 keeps the workload's own times."""
    limit: int = 0
    """Most requests; 0 takes the whole workload."""
    until: float = float("inf")
    """Virtual second at which the run is cut; what has not ended then counts as unfinished."""
    blocks: int = 0
    """KV blocks of a replica; 0 derives them from the card's memory."""
    memory_utilization: float = 0.9
    max_model_len: int = 131072
    cpu_cost: str = "off"
    """What `penstock.sim.host.parse_host` reads."""
    warmup: float = 0.0
    """Requests that arrive within so many seconds of the first are served but not counted."""


class Outcome(msgspec.Struct, kw_only=True):
    """What a run came to."""

    scenario: Scenario
    figures: dict[str, float]
    """See `penstock.workload.metrics.summary`, and `engine_figures` here."""
    tenants: dict[str, dict[str, float]]
    labels: dict[str, str]
    """In words: cost model, CPU time, KV capacity."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a scenario could not run: a `ConfigError` that may cross processes."""

    field: str
    message: str


Evaluate = Callable[[Sequence[Scenario]], Iterable[Outcome | Refusal]]
"""Runs scenarios, perhaps side by side, and yields in their order what came of each."""


class Device(NamedTuple):
    """What a scenario runs on."""

    cost: CostModel
    spec: ExecutorSpec
    schedule: ScheduleConfig
    """With the budgets that ``serve`` would choose on such a device."""
    label: str


class Run:
    """A run in the making: build, `go`, read.

    Args:
        scenario: what to run.
        stopwatch: a real clock, for measured CPU cost.
        progress: told now and then how far it is.
        trace: receives steps and requests.
        collector: notes what happens; a light one by default.

    Raises:
        ConfigError: something in the scenario cannot be used.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        stopwatch: Stopwatch | None = None,
        progress: Progress | None = None,
        trace: ChromeTrace | None = None,
        collector: Collector | None = None,
    ) -> None:
        self.scenario = scenario
        self.device = device_of(scenario)
        self.collector = collector or Collector(warmup=scenario.warmup)
        self.series = [Series() for _ in range(scenario.replicas)]
        self._trace = trace
        self.cpu_label = parse_host(scenario.cpu_cost, stopwatch)[1]
        makers = [self._maker(number, stopwatch) for number in range(scenario.replicas)]
        driver = open_driver(scenario.workload, seed=scenario.seed, rate=scenario.rate, limit=scenario.limit)
        notes = self.collector if trace is None else _Both(self.collector, trace)
        self.simulation = Simulation(makers, driver, notes, route_of(scenario.route), progress)

    def _maker(self, number: int, stopwatch: Stopwatch | None) -> MakeReplica:
        d, series, trace = self.device, self.series[number], self._trace
        host, _ = parse_host(self.scenario.cpu_cost, stopwatch)

        def observe(seen: StepSeen) -> None:
            replica = self.simulation.replicas[number]
            series.step(replica, seen.planned, seen.end - seen.start, seen.plan.shape.tokens)
            if trace is not None:
                trace.step(replica, seen)

        make = replica_maker(d.spec, d.cost, d.schedule, self.scenario.cache, host, observe)
        return watched(make, host)

    def go(self) -> Outcome:
        """Run to the end and return the figures."""
        self.simulation.run(self.scenario.until)
        collector, slo = self.collector, self.scenario.slo or None
        return Outcome(
            scenario=self.scenario,
            figures=collector.summary(slo) | engine_figures(self),
            tenants=collector.by_tenant(slo),
            labels={"cost": describe(self.device.cost), "cpu": self.cpu_label, "device": self.device.label},
        )


class _Both:
    """Tells the collector and the trace."""

    def __init__(self, collector: Collector, trace: ChromeTrace) -> None:
        self._collector, self._trace = collector, trace
        self.arrived = collector.arrived
        self.tokens = collector.tokens
        self.preempted = collector.preempted

    def finished(self, request_id: str, now: float, ok: bool, output: Output | None, detail: str) -> None:
        request: TraceRequest = self._collector.live[request_id].request
        self._collector.finished(request_id, now, ok, output, detail)
        self._trace.finished(request, now, ok, output)


def simulate(scenario: Scenario, **options: Any) -> Outcome:
    """Build a scenario and run it; options as for `Run`.

    Raises:
        ConfigError: something in the scenario cannot be used.
    """
    return Run(scenario, **options).go()


def evaluate(scenarios: Sequence[Scenario], **options: Any) -> Iterable[Outcome | Refusal]:
    """Run scenarios one after the other; a refusal is yielded, not raised. Options as for `Run`."""
    for scenario in scenarios:
        try:
            yield simulate(scenario, **options)
        except ConfigError as error:
            yield Refusal(error.field, error.message)


def engine_figures(run: Run) -> dict[str, float]:
    """Return what the engines counted, summed over replicas, and how the run itself went."""
    stats = [replica.core.stats() for replica in run.simulation.replicas]
    now = run.simulation.now()
    queried = sum(one.prefix_query_tokens for one in stats)
    hit = sum(one.prefix_hit_tokens for one in stats)
    busy = sum(series.busy for series in run.series)
    steps = sum(one.steps for one in stats)
    return {
        "virtual_seconds": now,
        "events": run.simulation.loop.done,
        "steps": steps,
        "mean_step_tokens": sum(one.step_tokens for one in stats) / steps if steps else 0.0,
        "device_busy": busy / (now * len(stats)) if now else 0.0,
        "recomputed_tokens": sum(one.recomputed_tokens for one in stats),
        "prefix_hit_rate": hit / queried if queried else 0.0,
    }


def route_of(text: str) -> RoutePolicy:
    """Return a routing policy from its string.

    Raises:
        ConfigError: unknown or unreadable.
    """
    try:
        policy: RoutePolicy = parse_policy("route", text)
    except ConfigError as error:
        raise ConfigError("--route", error.message) from None
    return policy


def target_of(cost: str) -> Target | None:
    """Return the model and cards that a cost text names; None where it names no card."""
    text = cost.strip().removeprefix("roofline:")
    if "@" not in text or text.startswith(("table:", "fit:")):
        return None
    return parse_target(text)


def device_of(scenario: Scenario) -> Device:
    """Return the device: step times, KV capacity and the budgets that ``serve`` would choose there.

    Raises:
        ConfigError: cost model or capacity cannot be had.
    """
    try:
        cost, target = load_cost(scenario.cost), target_of(scenario.cost)
    except ConfigError as error:
        raise ConfigError("--cost", error.message) from None
    on_gpu = not target.card.name.startswith("cpu") if target else scenario.cost.startswith("table:")
    page = scenario.cache.block_size or (16 if on_gpu else 32)
    blocks, label = _blocks(scenario, cost, target, page)
    schedule = scenario.schedule
    tokens = schedule.max_num_batched_tokens or max(2048 if on_gpu else 512, schedule.max_num_seqs)
    depth = int(on_gpu) if schedule.pipeline_depth < 0 else schedule.pipeline_depth
    schedule = msgspec.structs.replace(schedule, max_num_batched_tokens=tokens, pipeline_depth=depth)
    spec = capacities(
        blocks,
        page_size=page,
        slots=schedule.max_num_seqs,
        max_model_len=scenario.max_model_len,
        depth=depth,
        # The other models cannot price a step of which some rows pass some layers only.
        layers=cost.model.layers if isinstance(cost, Roofline) else 0,
    )
    return Device(cost, spec, schedule, f"{blocks} blocks of {page} tokens ({label})")


def _blocks(scenario: Scenario, cost: CostModel, target: Target | None, page: int) -> tuple[int, str]:
    """Return the KV blocks of a replica and where the number comes from."""
    if scenario.blocks:
        return scenario.blocks, "as given"
    shape: ModelShape | None = getattr(cost, "model", None)
    if shape is None and target is not None:
        shape = target.shape()
    if shape is not None and scenario.cache.kv_cache_dtype == "int8":
        shape = msgspec.structs.replace(shape, kv_width=1.0)
    budget = scenario.cache.kv_cache_memory_bytes
    if shape is not None and budget:
        return max(1, int(budget // (shape.kv_bytes_per_token * page))), f"{budget / 1e9:.3g} GB of KV"
    if shape is None or target is None:
        what = "the cost model names no card to derive them from; give --blocks"
        raise ConfigError("--blocks", f"how many KV blocks does a replica have? {what}")
    card: Hardware = target.card
    share = scenario.memory_utilization
    blocks = kv_blocks(card, shape, target.tp * target.pp, page, share)
    return blocks, f"{share:.0%} of {target.tp * target.pp} x {card.memory / 1e9:.0f} GB less weights"


def describe(cost: CostModel) -> str:
    """Return a cost model's own line, or its type."""
    line = getattr(cost, "describe", None)
    return str(line()) if line is not None else type(cost).__name__
