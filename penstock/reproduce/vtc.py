"""VTC (OSDI'24): its service bound on random worlds, and its suites for Llama-2-7B on an A10G.

Property: the production scheduler on small engines, one virtual second a step; 1,000 random worlds of 2 to 6
tenants under final-size reservation, and the two controls that must fail. About 100 s on one core, 3 s when
quick. Simulated: roofline of Llama-2-7B on an A10G, 10,000 tokens of KV (the paper's), room reserved for
final sizes, chunked prefill instead of the artifact's separate prefill. About 45 s a seed, 3 s when quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from penstock.core.executor import ExecutorSpec
from penstock.cost.spec import load_cost
from penstock.engine.core import EngineCore
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.fairness import Bounds, Probe, World, play, random_world
from penstock.reproduce.service import Run, ratio, serve
from penstock.sim.build import capacities
from penstock.workload.driver import Driver, Served
from penstock.workload.driver import World as DriverWorld
from penstock.workload.request import Span, TraceRequest
from penstock.workload.suites import vtc as suites

POOL = 400
"""Tokens of KV of the worlds made to break something."""


class Watch:
    """Counts what a world showed against the theorem."""

    def __init__(self, world: World, **schedule: str) -> None:
        self.spread = 0.0
        self.bounds = world.bounds
        self.probe = Probe()
        check = self._check if "vtc" in schedule["order"] or schedule["order"] == "lcf" else None
        self.outcome = play(world, self.probe, check, seconds=3000.0, **schedule)

    def _check(self, engine: EngineCore) -> None:
        state = engine.scheduler.state
        counters = state.policies.order.ledger.counters  # type: ignore[attr-defined]
        waiting = [counters[tenant] for tenant in self.probe.backlogged()]
        if waiting:
            self.spread = max(self.spread, max(waiting) - min(waiting))

    @property
    def difference(self) -> float:
        """Largest service difference over the bound 2U."""
        return self.probe.worst_difference / (2 * self.bounds.u)


def constant(
    gaps: tuple[float, ...], begins: tuple[float, ...], size: tuple[int, int], until: float
) -> list[TraceRequest]:
    """Return evenly sent requests of one tenant per gap, from its beginning on."""
    requests = [
        TraceRequest(
            id=f"{tenant}-{number}",
            arrival=begin + gap * number,
            prompt=(Span(1 + 10000 * tenant + number, size[0]),),
            output_tokens=size[1],
            tenant=f"t{tenant}",
        )
        for tenant, (gap, begin) in enumerate(zip(gaps, begins, strict=True))
        for number in range(int((until - begin) / gap))
    ]
    return sorted(requests, key=lambda request: (request.arrival, request.id))


def overload() -> World:
    """Two tenants above their share, one sending twice as much."""
    requests = constant((1.0, 0.5), (0.0, 0.0), (20, 20), 600.0)
    return World(requests=requests, bounds=Bounds(20, 20, POOL))


def comeback() -> World:
    """A tenant sends too much all the time; another was quiet for long and then does the same."""
    requests = constant((0.5, 0.5), (0.0, 1200.0), (20, 20), 2000.0)
    hello = msgspec.structs.replace(requests[0], id="hello", tenant="t1")
    return World(requests=[hello, *requests], bounds=Bounds(20, 20, POOL))


def staircase() -> World:
    """Two tenants whose answers are the pool's size over 1, 2, 3...: many ends, each later than the next."""
    requests = [
        TraceRequest(
            id=f"{tenant}-{number}",
            arrival=0.0,
            prompt=(Span(1 + 1000 * tenant + number, 1),),
            output_tokens=(POOL - 20) // (number % 30 + 1),
            tenant=f"t{tenant}",
        )
        for number in range(300)
        for tenant in range(2)
    ]
    return World(requests=requests, bounds=Bounds(1, POOL - 20, POOL), slots=256)


@experiment(
    "vtc-bound",
    row="1",
    system="vtc",
    kind="property",
    title="service of tenants with work waiting differs by at most 2U, counters by U",
    bars=(
        Bar("violations_2u", ceiling=0, paper="theorem: |W_f - W_g| <= 2U, U = max(w_p L_in, w_q M)"),
        Bar("violations_spread", ceiling=0, paper="lemma: counters of backlogged clients within U"),
        Bar("preemptions", ceiling=0),
        Bar("fcfs_over_2u", floor=1.0, paper="FCFS has no bound"),
        Bar("lcf_over_2u", floor=1.0, paper="without the lift there is no bound"),
        Bar("vtc_on_their_worlds", ceiling=1.0),
    ),
    fixed=True,
)
def bound(seed: int, quick: bool) -> dict[str, float]:
    """1,000 random worlds under final-size reservation (20 when quick), and the worlds that break others."""
    runs = 20 if quick else 1000
    seen = [
        Watch(random_world(np.random.default_rng((seed, run)), seconds=200.0), order="vtc", reserve="final")
        for run in range(runs)
    ]
    controls = {
        "fcfs_over_2u": Watch(overload(), order="fcfs", reserve="final").difference,
        "lcf_over_2u": Watch(comeback(), order="lcf", reserve="final").difference,
        "vtc_on_their_worlds": max(
            Watch(world(), order="vtc", reserve="final").difference for world in (overload, comeback)
        ),
    }
    return {
        "runs": runs,
        "violations_2u": sum(one.difference > 1 for one in seen),
        "violations_spread": sum(one.spread > one.bounds.u for one in seen),
        "preemptions": sum(one.outcome.preemptions for one in seen),
        "worst_over_2u": max(one.difference for one in seen),
        "worst_spread_over_u": max(one.spread / one.bounds.u for one in seen),
    } | controls


@experiment(
    "vtc-peak",
    row="1",
    system="vtc",
    kind="property",
    title="under LightLLM's peak admission a staircase of answer lengths breaks 2U, never 2U' (log bound)",
    bars=(
        Bar("violations_2u", floor=1),
        Bar("violations_2u_log", ceiling=0),
        Bar("final_over_2u", ceiling=1.0),
    ),
    fixed=True,
)
def peak(seed: int, quick: bool) -> dict[str, float]:
    """The staircase, and random worlds (200; 10 when quick), under peak admission."""
    runs = 10 if quick else 200
    worlds = [staircase()] + [
        random_world(np.random.default_rng((seed, run)), seconds=200.0) for run in range(runs)
    ]
    seen = [Watch(world, order="vtc", reserve="peak") for world in worlds]
    log = [one.probe.worst_difference / (2 * one.bounds.u_peak) for one in seen]
    return {
        "runs": len(seen),
        "violations_2u": sum(one.difference > 1 for one in seen),
        "violations_2u_log": sum(share > 1 for share in log),
        "staircase_over_2u": seen[0].difference,
        "staircase_over_2u_log": log[0],
        "staircase_spread_over_u": seen[0].spread / seen[0].bounds.u,
        "final_over_2u": Watch(staircase(), order="vtc", reserve="final").difference,
    }


# -- the paper's suites, simulated -----------------------------------------------------------------


class Foretold:
    """A driver whose requests carry their true length as the predicted one.

    Args:
        inner: sends them.
    """

    def __init__(self, inner: Driver) -> None:
        self._inner = inner
        self._world: DriverWorld | None = None

    def begin(self, world: DriverWorld) -> None:
        """Begin in a world that writes the lengths down."""
        self._world = world
        self._inner.begin(self)

    def now(self) -> float:
        """Return the time."""
        assert self._world is not None
        return self._world.now()

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Pass on."""
        assert self._world is not None
        self._world.at(time, call)

    def submit(self, request: TraceRequest) -> None:
        """Pass a request on, foretold."""
        assert self._world is not None
        self._world.submit(msgspec.structs.replace(request, length_score=float(request.output_tokens)))

    def served(self, result: Served, world: DriverWorld) -> None:
        """Pass on."""
        self._inner.served(result, self)


def a10g() -> ExecutorSpec:
    """Return the paper's engine: 10,000 tokens of KV."""
    return capacities(625, page_size=16, slots=256)


def run_suite(make: Callable[..., Driver], seed: int, seconds: float, order: str, **schedule: Any) -> Run:
    """Run a suite until ``seconds``; under the oracle, its requests carry their lengths."""
    driver = make(seed, duration=seconds)
    if order == "vtc-oracle":
        driver = Foretold(driver)
    return serve(driver, load_cost("llama-2-7b@a10g"), a10g(), until=seconds, order=order, **schedule)


@experiment(
    "vtc-overload",
    row="1",
    system="vtc",
    kind="simulated",
    title="two tenants above their share, one sending twice as much (Llama-2-7B, A10G)",
    bars=(
        Bar("vtc_ratio", floor=0.97, ceiling=1.03, paper="equal service"),
        Bar("fcfs_ratio", floor=0.47, ceiling=0.53, paper="service follows the arrival rates, 1 : 2"),
        Bar("throughput_of_fcfs", floor=0.99, ceiling=1.01, paper="778 of 777 tokens/s (arena trace)"),
    ),
)
def overload_suite(seed: int, quick: bool) -> dict[str, float]:
    """Service of client 1 over that of client 2 after the first 30 s, while both have work waiting."""
    end = 120.0 if quick else 360.0
    runs = {
        order: run_suite(suites.overload, seed, end, order)
        for order in ("fcfs", "vtc", "vtc-predict", "vtc-oracle")
    }
    figures = {}
    for order, run in runs.items():
        name = order.replace("-", "_")
        figures[f"{name}_ratio"] = ratio(run.log.served(30, end), ("client1", "client2"))
        figures[f"{name}_widest_gap"] = max(run.log.gaps(30, int(end)))
    through = {order: run.log.throughput(30, end) for order, run in runs.items()}
    return figures | {
        "throughput": through["vtc"],
        "throughput_of_fcfs": through["vtc"] / through["fcfs"],
    }


@experiment(
    "vtc-suites",
    row="1",
    system="vtc",
    kind="simulated",
    title="weights, light and returning tenants, unlike lengths, many tenants (Llama-2-7B, A10G)",
    bars=(
        Bar("weighted_worst", ceiling=1.05, paper="service proportional to weights"),
        Bar("light_ttft_of_fcfs", ceiling=0.2, paper="a client below its share keeps its response times"),
        Bar("short_long_ratio", floor=0.9, ceiling=1.1, paper="equal service for unlike lengths"),
        Bar("shift_ratio", floor=0.95, ceiling=1.05, paper="equal service in the last phase"),
        Bar("lcf_shift_ratio", floor=1.2, paper="LCF favours whoever was idle"),
        Bar("arena_gap_of_fcfs", ceiling=0.6, paper="368 of 760 (widest), 252 of 434 (mean) [recalled]"),
        Bar("arena_throughput_of_fcfs", floor=0.97, paper="779 of 777 tokens/s [recalled]"),
        Bar("rpm5_throughput_of_fcfs", ceiling=0.9, paper="340 of 777 tokens/s [recalled]"),
    ),
)
def other_suites(seed: int, quick: bool) -> dict[str, float]:
    """The suites of section 5 whose outcome the paper describes; times are cut to a quarter when quick."""
    part = 0.25 if quick else 1.0
    figures = {}
    run = run_suite(suites.weighted, seed, 360 * part, "vtc")
    shares = [units / (i + 1) for i, units in enumerate(run.log.served(30, 360 * part).values())]
    figures["weighted_worst"] = max(shares) / min(shares)
    for order in ("vtc", "fcfs"):
        log = run_suite(suites.on_off_less, seed, 600 * part, order).log
        figures[f"{order}_light_p99_ttft_s"] = log.by_tenant()["client1"]["p99_ttft_ms"] / 1000
    figures["light_ttft_of_fcfs"] = figures["vtc_light_p99_ttft_s"] / figures["fcfs_light_p99_ttft_s"]
    run = run_suite(suites.short_long, seed, 600 * part, "vtc")
    figures["short_long_ratio"] = ratio(run.log.served(60, 600 * part), ("client1", "client2"))
    for order in ("vtc", "lcf"):
        name = "" if order == "vtc" else "lcf_"
        log = run_suite(suites.shift, seed, 900 * part, order).log
        served = log.served(900 * part * 2 / 3 + 30, 900 * part)
        figures[f"{name}shift_ratio"] = ratio(served, ("client1", "client2"))
    return figures | _arena(seed, int(600 * part))


def _arena(seed: int, end: int) -> dict[str, float]:
    """Many tenants of unlike rates: service gaps and throughput against FCFS and quotas."""
    runs = {order: run_suite(suites.arena, seed, end, order) for order in ("fcfs", "vtc", "vtc-predict")}
    runs["rpm5"] = run_suite(suites.arena, seed, end, "fcfs", admit="rpm(5)")
    runs["rpm20"] = run_suite(suites.arena, seed, end, "fcfs", admit="rpm(20)")
    figures = {}
    base = runs["fcfs"].log
    for order, run in runs.items():
        name = order.replace("-", "_").replace("vtc", "arena")
        if order == "fcfs":
            continue
        figures[f"{name}_gap_of_fcfs"] = max(run.log.gaps(60, end)) / max(base.gaps(60, end))
        figures[f"{name}_throughput_of_fcfs"] = run.log.throughput(60, end) / base.throughput(60, end)
    return figures
