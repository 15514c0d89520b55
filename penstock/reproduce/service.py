"""One simulated replica and the service that each tenant got from it, second by second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.executor import ExecutorSpec
from penstock.core.output import EngineStats
from penstock.core.policy import StepCost
from penstock.policies.route.round_robin import RoundRobin
from penstock.sim.build import replica_maker
from penstock.sim.simulation import Simulation
from penstock.workload.driver import Driver
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import TraceRequest

INPUT_PRICE, OUTPUT_PRICE = 1.0, 2.0


class ServiceLog(Collector):
    """A collector that also adds service up as the client sees it: a prompt with its first token.

    Args:
        extend: prompt tokens that the prefix cache held count nothing.
    """

    def __init__(self, extend: bool = False) -> None:
        super().__init__()
        self._extend = extend
        self.per_second: dict[str, dict[int, float]] = {}
        """Service units by tenant and second."""
        self.tokens_per_second: dict[int, int] = {}
        """Prompt tokens (cached ones too) and generated tokens of everybody, by second."""

    def arrived(self, request: TraceRequest, now: float) -> None:
        """A request reached the front door."""
        super().arrived(request, now)
        self.per_second.setdefault(request.tenant, {})

    def tokens(self, request_id: str, count: int, now: float, cached: int = 0) -> None:
        """Tokens became available to a client."""
        live = self.live[request_id]
        units, tokens = OUTPUT_PRICE * count, count
        if live.first < 0:
            units += INPUT_PRICE * (live.request.prompt_tokens - (cached if self._extend else 0))
            tokens += live.request.prompt_tokens
        second, mine = int(now), self.per_second[live.request.tenant]
        mine[second] = mine.get(second, 0.0) + units
        self.tokens_per_second[second] = self.tokens_per_second.get(second, 0) + tokens
        super().tokens(request_id, count, now, cached)

    def served(self, begin: float, end: float) -> dict[str, float]:
        """Return the service of each tenant within [begin, end) seconds."""
        return {
            tenant: sum(units for second, units in mine.items() if begin <= second < end)
            for tenant, mine in sorted(self.per_second.items())
        }

    def throughput(self, begin: float, end: float) -> float:
        """Return prompt and generated tokens per second within [begin, end)."""
        done = sum(tokens for second, tokens in self.tokens_per_second.items() if begin <= second < end)
        return done / (end - begin)

    def gaps(self, begin: int, end: int, window: int = 60, step: int = 10) -> list[float]:
        """Return most minus least service among tenants, per window."""
        spans = [self.served(at, at + window).values() for at in range(begin, end - window + 1, step)]
        return [max(span) - min(span) for span in spans]


class Run:
    """What a run left behind."""

    def __init__(self, log: ServiceLog, stats: EngineStats, seconds: float) -> None:
        self.log = log
        self.stats = stats
        self.seconds = seconds


def serve(
    driver: Driver,
    cost: StepCost,
    spec: ExecutorSpec,
    *,
    until: float = float("inf"),
    caching: bool = False,
    **schedule: Any,
) -> Run:
    """Run a driver on one simulated replica.

    Args:
        driver: who sends requests.
        cost: step times.
        spec: capacities of the device.
        until: virtual seconds after which the run is cut off.
        caching: whether prompt prefixes are reused; service then counts computed prompt tokens only.
        schedule: fields of `ScheduleConfig`; room is reserved for final sizes unless they say otherwise.
    """
    base = ScheduleConfig(admit="unlimited", reserve="final", max_num_seqs=256)
    config = msgspec.structs.replace(base, **schedule)
    log = ServiceLog(extend=caching)
    maker = replica_maker(spec, cost, config, CacheConfig(enable_prefix_caching=caching))
    simulation = Simulation([maker], driver, log, RoundRobin())
    simulation.run(until)
    return Run(log, simulation.replicas[0].core.stats(), simulation.now())


def ratio(served: dict[str, float], tenants: Sequence[str]) -> float:
    """Return the service of the first of two tenants over that of the second."""
    first, second = tenants
    return served[first] / served[second] if served[second] else float("inf")
