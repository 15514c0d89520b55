"""AI Metropolis: steps of agents out of order give the lock-step run, sooner (60 s a seed, real 30 s)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig, ServerConfig
from penstock.cost.roofline import kv_blocks
from penstock.cost.spec import load_cost, parse_target
from penstock.policies.route.least_load import LeastLoad
from penstock.reproduce.base import Bar, experiment
from penstock.sim.build import capacities, replica_maker
from penstock.sim.events import EventLoop
from penstock.sim.simulation import Simulation
from penstock.workload.driver import Driver, Served
from penstock.workload.metrics.collector import Collector
from penstock.workload.metropolis import LockStep, Oracle, OutOfOrder, Rules, SingleThread
from penstock.workload.metropolis_driver import AgentSimulation, Answer, Call, Gate
from penstock.workload.metropolis_space import Graph, Grid, Seen, Town
from penstock.workload.metropolis_village import (
    SMALLVILLE_RULES,
    Replay,
    Village,
    VillageSpec,
    Wanderer,
    record_village,
)
from penstock.workload.request import Span, TraceRequest

HARDWARE = "llama-3.1-8b@l4"
GPUS = 8
"""L4 cards, each with the whole model, as in the paper's larger machine."""


@dataclass(frozen=True)
class NotAhead(Rules):
    """A mutant: forgets that the laggard may move during the step, too."""

    def blocking(self, lead: int) -> float:
        """Leave the +1 out."""
        return self.radius + lead * self.speed


@dataclass(frozen=True)
class Unmoved(Rules):
    """A mutant: couples only who sees each other already."""

    def coupling(self) -> float:
        """Leave the speed out."""
        return self.radius


class LatencyWorld:
    """A world in which every answer takes a random time and nobody queues."""

    def __init__(self, driver: Driver, rng: np.random.Generator) -> None:
        self.loop = EventLoop()
        self._driver, self._rng = driver, rng

    def now(self) -> float:
        """Return virtual seconds."""
        return self.loop.now()

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Have ``call`` run at ``time``."""
        self.loop.at(time, call)

    def submit(self, request: TraceRequest) -> None:
        """Answer after a while; some answers take very long."""
        arrival = self.now()
        done = arrival + float(self._rng.lognormal(0.0, 1.5))

        def serve() -> None:
            result = Served(request=request, ok=True, arrival=arrival, first_token=done, finished=done)
            self._driver.served(result, self)

        self.at(done, serve)

    def run(self) -> None:
        """Run to the end."""
        self._driver.begin(self)
        self.loop.run()


def random_world(number: int, seed: int) -> tuple[Grid | Graph, list[Any], int]:
    """Return a space, where its agents start, and how talkative they are: lines, grids and graphs in turn."""
    rng = np.random.default_rng([seed, number])
    agents, chatty = 8, 4 if number % 2 else 2
    if number % 3 == 2:
        nodes = 24
        edges = {node: {(node + 1) % nodes} for node in range(nodes)}
        for a, b in rng.integers(0, nodes, (4, 2)).tolist():
            edges[a].add(b)
        return Graph(edges), rng.integers(0, nodes, agents).tolist(), chatty
    grid = Grid(30) if number % 3 == 0 else Grid(12, 12)
    starts = zip(
        rng.integers(0, grid.width, agents).tolist(),
        rng.integers(0, grid.height, agents).tolist(),
        strict=True,
    )
    return grid, list(starts), chatty


def trace_of(
    number: int, seed: int, rules: Rules, make: Callable[[Town], Gate]
) -> tuple[dict[Any, Any], Gate]:
    """Run a random world; return what everybody saw and did, and the gate."""
    space, starts, chatty = random_world(number, seed)
    behaviour = Wanderer(space, seed * 1000 + number, chatty)
    behaviour.begin(starts)
    town = Town(space, starts, rules.coupling())
    gate = make(town)
    driver = AgentSimulation(town, behaviour, gate, rules, keep=True)
    LatencyWorld(driver, np.random.default_rng([seed, number, 1])).run()
    return driver.trace, gate


@experiment(
    "metropolis-trace",
    row="11",
    system="ai-metropolis",
    kind="property",
    title="Out-of-order traces equal lock-step traces on random worlds; broken rules do not",
    bars=(
        Bar("mismatches", ceiling=0),
        Bar("stuck", ceiling=0),
        Bar("no_ahead_fails", floor=0.1001),
        Bar("no_speed_fails", floor=0.1001),
    ),
)
def traces(seed: int, quick: bool) -> dict[str, float]:
    """Compare every observation and move of 8 agents over 15 steps (radius 2, speed 1)."""
    worlds, steps, rules = (30 if quick else 400), 15, Rules(2, 1)
    count = dict.fromkeys(("mismatches", "stuck", "no_ahead_fails", "no_speed_fails"), 0.0)
    skew = 0
    for number in range(worlds):
        truth, _ = trace_of(number, seed, rules, lambda town: LockStep(town, steps))
        alone, _ = trace_of(number, seed, rules, lambda town: SingleThread(town, steps))
        ours, gate = trace_of(number, seed, rules, lambda town: OutOfOrder(town, steps, rules))
        assert isinstance(gate, OutOfOrder)
        skew = max(skew, gate.dependencies.skew)
        count["stuck"] += min(gate.steps) < steps
        count["mismatches"] += not truth == ours == alone
        for name, mutant in (("no_ahead_fails", NotAhead(2, 1)), ("no_speed_fails", Unmoved(2, 1))):
            broken, _ = trace_of(number, seed, mutant, lambda town, m=mutant: OutOfOrder(town, steps, m))  # type: ignore[misc]
            count[name] += broken != truth
    count["no_ahead_fails"] /= worlds
    count["no_speed_fails"] /= worlds
    return count | {"worlds": worlds, "largest_skew": skew}


def simulate(village: Village, gate: str, gpus: int = GPUS, order: str = "priority > fcfs") -> float:
    """Return the virtual seconds that a recorded village takes.

    Args:
        village: the recording.
        gate: ``sync``, ``single``, ``ooo`` or ``oracle``.
        gpus: replicas.
        order: of requests within a replica.
    """
    town, steps, rules = village.town(), village.spec.steps, SMALLVILLE_RULES
    gates: dict[str, Callable[[], Gate]] = {
        "sync": lambda: LockStep(town, steps),
        "single": lambda: SingleThread(town, steps),
        "ooo": lambda: OutOfOrder(town, steps, rules),
        "oracle": lambda: Oracle(town, steps, village.met),
    }
    driver = AgentSimulation(town, Replay(village), gates[gate](), rules)
    target = parse_target(HARDWARE)
    maker = replica_maker(
        capacities(kv_blocks(target.card, target.shape()), slots=64),
        load_cost(HARDWARE),
        ScheduleConfig(order=order, admit="unlimited", max_num_seqs=64, max_num_batched_tokens=1024),
    )
    seconds = Simulation([maker] * gpus, driver, Collector(), LeastLoad()).run()
    assert min(driver.gate.steps) == steps, "a simulation of agents got stuck"
    return seconds


@experiment(
    "metropolis-speedup",
    row="11",
    system="ai-metropolis",
    kind="simulated",
    title="Villages of 25, 100 and 500 agents, Llama-3.1-8B on eight L4: time in lock-step over out of order",
    bars=(
        Bar("speedup_25", floor=1.3, paper="1.3x over parallel-sync at its smallest"),
        Bar("speedup_500", floor=2.5, paper="4.15x over parallel-sync at its largest"),
        Bar("growth_25_100", floor=1.0),
        Bar("growth_100_500", floor=1.0),
        Bar("of_oracle_25", floor=0.74, paper="74 to 97 % of an oracle's speed"),
        Bar("of_oracle_100", floor=0.74, paper="74 to 97 % of an oracle's speed"),
        Bar("of_oracle_500", floor=0.74, paper="74 to 97 % of an oracle's speed"),
        Bar("over_single_25", floor=1.0, paper="up to 19.5x over a single thread"),
    ),
)
def speedup(seed: int, quick: bool) -> dict[str, float]:
    """Replay recorded villages (40 minutes; 500 agents: 20) under each order of steps."""
    found: dict[str, float] = {}
    sizes = {25: 60, 100: 30} if quick else {25: 240, 100: 240, 500: 120}
    for agents, steps in sizes.items():
        village = record_village(VillageSpec(agents=agents, steps=steps), seed)
        sync, ours, oracle = (simulate(village, gate) for gate in ("sync", "ooo", "oracle"))
        found[f"speedup_{agents}"] = sync / ours
        found[f"of_oracle_{agents}"] = oracle / ours
        if agents == 25:
            found["over_single_25"] = simulate(village, "single") / ours
            found["priority_gain_25"] = simulate(village, "ooo", order="fcfs") / ours
    found["growth_25_100"] = found["speedup_100"] / found["speedup_25"]
    found["growth_100_500"] = found.get("speedup_500", 0.0) / found["speedup_100"]
    return found


class Villager(Wanderer):
    """Tells a chat model where it is and whom it sees, and lets the reply decide its moves."""

    def __init__(self, space: Grid, seed: int) -> None:
        super().__init__(space, seed)
        self.words: dict[str, str] = {}
        """By request id."""

    def ask(self, agent: int, step: int, seen: tuple[Seen, ...], answers: Sequence[Answer]) -> Call | None:
        """Word the one call of a step."""
        if answers:
            return None
        others = ", ".join(f"agent {number} at {place}" for number, place, _ in seen)
        sight = f"You see {others}." if others else "You see nobody."
        text = f"You are agent {agent} at {self.here[agent]}. {sight} Where do you go?"
        self.words[f"a{agent}s{step}c0"] = text
        return Call((Span(1, len(text)),), 6)


async def real_traces(seed: int, agents: int, steps: int) -> dict[str, float]:
    """Run the same toy village on the bundled model in lock-step, out of order, and again."""
    from penstock.bench.live import LiveWorld
    from penstock.frontend.async_engine import AsyncEngine
    from penstock.frontend.prompts import Chat

    rules, grid = Rules(2, 1), Grid(14, 14)
    rng = np.random.default_rng(seed)
    starts = [tuple(tile) for tile in rng.integers(0, 14, (agents, 2)).tolist()]
    config = Config(
        model=ModelConfig(batch_invariant=True),
        cache=CacheConfig(kv_cache_memory_bytes=64 << 20),
        schedule=ScheduleConfig(max_num_seqs=16),
        server=ServerConfig(inproc=True),
    )

    async def run(engine: AsyncEngine, make: Callable[[Town], Gate]) -> tuple[dict[Any, Any], float, int]:
        behaviour = Villager(grid, seed)
        behaviour.begin(starts)
        town = Town(grid, starts, rules.coupling())
        driver = AgentSimulation(town, behaviour, make(town), rules, keep=True)

        def ask(request: TraceRequest) -> tuple[Chat, dict[str, Any]]:
            chat = Chat(messages=[{"role": "user", "content": behaviour.words[request.id]}])
            return chat, {"temperature": 0.0, "max_tokens": request.output_tokens}

        seconds = await LiveWorld([engine], driver, ask=ask).run(300)
        return driver.trace, seconds, driver.failed

    async with await AsyncEngine.start(config) as engine:
        await run(engine, lambda town: LockStep(town, 1))  # first use
        lock, lock_seconds, lock_failed = await run(engine, lambda town: LockStep(town, steps))
        ours, our_seconds, our_failed = await run(engine, lambda town: OutOfOrder(town, steps, rules))
    differ = sum(lock.get(key) != ours.get(key) for key in lock.keys() | ours.keys())
    moods = {move.mood for _, move in lock.values()}
    return {
        "differing_steps": float(differ),
        "failed_calls": float(lock_failed + our_failed),
        "distinct_moods": float(len(moods)),
        "steps": float(agents * steps),
        "speedup": lock_seconds / our_seconds,
    }


@experiment(
    "metropolis-real",
    row="11",
    system="ai-metropolis",
    kind="real",
    title="Ten agents on a toy grid, the bundled model (greedy, batch-invariant): same trace in either order",
    bars=(Bar("differing_steps", ceiling=0), Bar("failed_calls", ceiling=0), Bar("distinct_moods", floor=20)),
)
def real(seed: int, quick: bool) -> dict[str, float]:
    """Compare every observation and every move, each of which hashes the model's tokens."""
    return asyncio.run(real_traces(seed, 5 if quick else 10, 4 if quick else 12))
