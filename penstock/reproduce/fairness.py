"""What the fairness theorems are held to: random small worlds, and a probe that follows service in them.

Worlds run on the production scheduler with one virtual second per step. Service is counted as it is charged:
a prompt whole at admission, tokens as they land; theorems are checked after every admission and landing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import msgspec
import numpy as np

from penstock.config.settings import ScheduleConfig
from penstock.core.plan import PlanShape
from penstock.core.policy import SequenceView, Watcher
from penstock.core.scheduler import Scheduler
from penstock.core.state import SchedulerState
from penstock.engine.core import EngineCore
from penstock.policies.bundle import build_policies
from penstock.policies.retain.none import NoRetention
from penstock.sim.build import capacities
from penstock.sim.events import VirtualClock
from penstock.sim.executor import Answer, SimExecutor
from penstock.workload.request import Span, TraceRequest

INPUT_PRICE, OUTPUT_PRICE = 1.0, 2.0


class Bounds(NamedTuple):
    """What a world's requests and memory make the theorems say."""

    longest_prompt: int
    longest_output: int
    pool_tokens: int

    @property
    def u(self) -> float:
        """U: the most that one tenant can get ahead by what is admitted already."""
        return max(INPUT_PRICE * self.longest_prompt, OUTPUT_PRICE * self.pool_tokens)

    @property
    def u_additive(self) -> float:
        """U of DLPM."""
        return INPUT_PRICE * self.longest_prompt + OUTPUT_PRICE * self.pool_tokens

    @property
    def u_peak(self) -> float:
        """U under LightLLM's peak check: staggered ends let what remains reach M (1 + ln L), not M."""
        return self.u_additive + OUTPUT_PRICE * self.pool_tokens * math.log(self.longest_output)


class Probe(NoRetention, Watcher):
    """Follows the service of tenants. It sits in a slot of its own, after the order has been told."""

    def __init__(self, extend: bool = False) -> None:
        self._extend = extend
        self.service: dict[str, float] = {}
        self.waiting: dict[str, int] = {}
        self._spans: dict[tuple[str, str], tuple[float, float]] = {}
        """Least and most service difference of each pair since both have had work waiting."""
        self.worst_difference = 0.0
        """Largest change of a pair's service difference over any interval in which both had work waiting."""
        self.admitted: list[str] = []
        self.input_charged = 0
        self.on_change: Callable[[], None] | None = None

    def backlogged(self) -> list[str]:
        """Return the tenants with work waiting."""
        return [tenant for tenant, count in self.waiting.items() if count]

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Count."""
        tenant = seq.spec.tenant
        self.service.setdefault(tenant, 0.0)
        self.waiting[tenant] = self.waiting.get(tenant, 0) + 1
        self.settle()

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Count the prompt."""
        self.waiting[seq.spec.tenant] -= 1
        if seq.preemptions == 0:
            self.admitted.append(seq.id)
            tokens = seq.prompt_length - (seq.computed if self._extend else 0)
            self.input_charged += tokens
            self.service[seq.spec.tenant] += INPUT_PRICE * tokens
        self.settle()

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Count generated tokens; the step as a whole is looked at when it has landed."""
        self.service[seq.spec.tenant] += OUTPUT_PRICE * decode

    def on_preempt(self, seq: SequenceView, now: float) -> None:
        """Count."""
        self.waiting[seq.spec.tenant] += 1

    def settle(self) -> None:
        """Look at every pair."""
        now = set(combinations(sorted(self.backlogged()), 2))
        for pair in [pair for pair in self._spans if pair not in now]:
            del self._spans[pair]
        for pair in now:
            gap = self.service[pair[0]] - self.service[pair[1]]
            low, high = self._spans.get(pair, (gap, gap))
            self._spans[pair] = low, high = min(low, gap), max(high, gap)
            self.worst_difference = max(self.worst_difference, high - low)
        if self.on_change is not None:
            self.on_change()


class _EverySecond:
    def step(self, shape: PlanShape) -> float:
        return 1.0


class World(msgspec.Struct, kw_only=True):
    """A small engine and what is sent to it."""

    requests: Sequence[TraceRequest]
    bounds: Bounds
    page: int = 1
    slots: int = 64
    budget: int = 1 << 20
    caching: bool = False


class Outcome(NamedTuple):
    """What a run of a world showed."""

    probe: Probe
    engine: EngineCore

    @property
    def preemptions(self) -> int:
        """How often a running sequence gave way."""
        return self.engine.stats().preemptions


def play(
    world: World,
    probe: Probe,
    check: Callable[[EngineCore], None] | None = None,
    seconds: float = math.inf,
    **schedule: str,
) -> Outcome:
    """Run a world.

    Args:
        world: engine and requests.
        probe: follows service.
        check: called after every admission and landing.
        seconds: when to stop.
        schedule: policy strings by slot.
    """
    config = msgspec.structs.replace(ScheduleConfig(admit="unlimited"), **schedule)
    policies = msgspec.structs.replace(build_policies(config), retain=probe)
    blocks = world.bounds.pool_tokens // world.page
    spec = capacities(blocks, page_size=world.page, slots=world.slots)
    clock, answers = VirtualClock(), dict[str, Answer]()
    executor = SimExecutor(spec, _EverySecond(), clock, answers)
    state = SchedulerState(
        spec, policies, max_seqs=world.slots, max_tokens=world.budget, prefix_caching=world.caching
    )
    engine = EngineCore(Scheduler(state), executor, clock)
    if check is not None:
        probe.on_change = lambda: check(engine)
    rest = list(reversed(world.requests))
    while (rest or engine.has_work()) and clock.time < seconds:
        while rest and rest[-1].arrival <= clock.time:
            request = rest.pop()
            answers[request.id] = Answer(request.output_tokens, 1 << 20)
            engine.submit(request.spec(clock.time))
        ticket = engine.fill()
        if ticket is None:
            engine.land()
            clock.time = max(clock.time + 1, math.ceil(rest[-1].arrival) if rest else 0)
            continue
        clock.time = executor.due(ticket)
        engine.land()
        probe.settle()
    return Outcome(probe, engine)


def random_world(rng: np.random.Generator, *, shared: bool = False, seconds: float = 400.0) -> World:
    """Return 2 to 6 tenants of different rates and sizes, with bursts, idle spells and overload.

    Args:
        rng: of the seed.
        shared: prompts begin with one of a few prefixes of their tenant, and prefixes are cached.
        seconds: until when requests arrive.
    """
    pool = int(rng.integers(60, 400))
    prompt, output = int(rng.integers(4, pool // 3)), int(rng.integers(4, pool // 3))
    requests: list[TraceRequest] = []
    for tenant in range(int(rng.integers(2, 7))):
        small = rng.uniform(0.2, 1.0)
        arrivals = _spells(rng, rng.uniform(0.01, 0.3), seconds)
        for number, arrival in enumerate(arrivals):
            length = max(1, int(rng.integers(1, 1 + prompt) * small))
            own = Span(1000 + len(requests), length)
            spans: tuple[Span, ...] = (own,)
            if shared and length > 1:
                prefix = Span(1 + 3 * tenant + int(rng.integers(3)), int(rng.integers(1, length)))
                spans = (prefix, Span(own.stream, length - prefix.length))
            requests.append(
                TraceRequest(
                    id=f"{tenant}-{number}",
                    arrival=arrival,
                    prompt=spans,
                    output_tokens=max(1, int(rng.integers(1, 1 + output) * small)),
                    tenant=f"t{tenant}",
                )
            )
    requests.sort(key=lambda request: (request.arrival, request.id))
    return World(
        requests=requests,
        bounds=Bounds(prompt, output, pool - pool % 4),
        page=int(rng.choice([1, 2, 4])),
        slots=int(rng.choice([4, 16, 64])),
        budget=int(rng.choice([8, 64, 1 << 20])),
        caching=shared,
    )


def _spells(rng: np.random.Generator, rate: float, until: float) -> list[float]:
    """Return arrivals that alternate between busy and quiet spells; some come in bursts of one moment."""
    times, now, ends, busy = list[float](), 0.0, 0.0, True
    while now < until:
        if now >= ends:
            busy, ends = not busy, now + rng.exponential(80.0)
        now += rng.exponential(1.0 / (rate * (3.0 if busy else 0.2)))
        times.extend([now] * (int(rng.integers(2, 8)) if busy and rng.random() < 0.1 else 1))
    return times
