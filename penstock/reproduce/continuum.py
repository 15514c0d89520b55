"""Continuum (arXiv 2511.02230): KV kept between an agent's turns for as long as that pays.

Property: the lifetime rule against brute force over every candidate, the closed form of the prior, and
schedules with lifetimes of nothing and of for ever. A few seconds.
Simulated: Llama-3.1-8B on one A100 (roofline), the ``agent-swe`` suite (20-40 turns, tools of 1 s on average
with a heavy tail), Poisson arrivals of 40 programs at four rates, LRU and first come first served against
``continuum`` and ``program-fcfs``. About a minute and a half a seed, 10 s when quick.
Real: the bundled model, 8 scripted agents of 5 turns with tools of 50-300 ms, a pool for 3 contexts; rounds
of both variants in turn. Continuum comes with a history: 120 short programs with the same tool, and a first
round that is not counted. About 20 s on an idle machine.
"""

from __future__ import annotations

import heapq
import math
import statistics
import time
from typing import Any

import numpy as np

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.executor import ExecutorSpec
from penstock.core.output import EngineStats
from penstock.core.policy import StepCost
from penstock.core.request import RequestSpec, SamplingParams, Turn
from penstock.cost.hardware import hardware
from penstock.cost.models import model_shape
from penstock.cost.roofline import kv_blocks
from penstock.cost.spec import load_cost
from penstock.policies.retain.lifetimes import best_lifetime, prior_lifetime
from penstock.policies.route.round_robin import RoundRobin
from penstock.reproduce.base import Bar, experiment
from penstock.sim.build import capacities, replica_maker
from penstock.sim.executor import StepSeen
from penstock.sim.simulation import Simulation
from penstock.workload.driver import Driver
from penstock.workload.metrics.collector import Collector
from penstock.workload.registry import make_workload

LRU: dict[str, Any] = {"order": "fcfs", "retain": "none"}
CONTINUUM: dict[str, Any] = {"order": "program-fcfs", "retain": "continuum"}


class Ran:
    """What a simulated run came to."""

    def __init__(self, jct: float, end: float, stats: EngineStats, steps: list[tuple[Any, ...]]) -> None:
        self.jct = jct
        """Mean job completion time, seconds."""
        self.end = end
        self.stats = stats
        self.steps = steps
        """Items of every step, if they were asked for."""


def run(
    cost: StepCost, spec: ExecutorSpec, driver: Driver, *, keep_steps: bool = False, **schedule: Any
) -> Ran:
    """Run a driver on one simulated replica with prefix caching."""
    fields: dict[str, Any] = {"admit": "unlimited", "preempt": "newest"}
    config = ScheduleConfig(**(fields | schedule))
    collector = Collector("light")
    steps: list[tuple[Any, ...]] = []

    def observe(seen: StepSeen) -> None:
        steps.append(tuple((item.slot, item.start, item.length) for item in seen.plan.items))

    maker = replica_maker(spec, cost, config, CacheConfig(), observe=observe if keep_steps else None)
    simulation = Simulation([maker], driver, collector, RoundRobin())
    end = simulation.run()
    times = list(collector.job_times)
    stats = simulation.replicas[0].core.stats()
    return Ran(statistics.mean(times) if times else math.nan, end, stats, steps)


def llama_on_a100() -> tuple[StepCost, int]:
    """Return the cost model of the simulated rows, and the KV blocks that fit beside the weights."""
    blocks = kv_blocks(hardware("a100-80g"), model_shape("llama-3.1-8b"))
    return load_cost("llama-3.1-8b@a100-80g"), blocks


# -- property ----------------------------------------------------------------------------------------


@experiment(
    "continuum-lifetime",
    row="9",
    system="Continuum",
    kind="property",
    title="The lifetime rule against brute force; lifetimes of nothing and of for ever",
    bars=[
        Bar("lifetime_mismatches", ceiling=0, paper="argmax of F(t) B - t over the observed durations"),
        Bar("prior_error", ceiling=1e-9, paper="ln(B) for exponential tool times of 1 s"),
        Bar("steps_unlike_program_fcfs", ceiling=0, paper="a lifetime of 0 is program FCFS"),
        Bar("recomputed_with_ample_memory", ceiling=0, paper="nothing is computed twice while memory lasts"),
        Bar("unfinished_in_one_request", ceiling=0, paper="pins are released under pressure"),
    ],
)
def continuum_lifetime(seed: int, quick: bool) -> dict[str, float]:
    """Draw distributions and benefits; run small simulations."""
    rng = np.random.default_rng(seed)
    mismatches = 0
    for _ in range(100 if quick else 1000):
        durations = sorted(rng.lognormal(0.0, 1.5, int(rng.integers(1, 60))).round(int(rng.integers(0, 3))))
        benefit = float(rng.exponential(5.0))
        candidates = [0.0, *durations]
        share = [sum(d <= t for d in durations) / len(durations) for t in candidates]
        gains = [p * benefit - t for p, t in zip(share, candidates, strict=True)]
        best = min(t for t, gain in zip(candidates, gains, strict=True) if gain >= max(gains) - 1e-12)
        mismatches += abs(best_lifetime(durations, benefit) - best) > 1e-9
    benefits = rng.exponential(4.0, 100)
    error = max(abs(prior_lifetime(float(b)) - max(0.0, math.log(b))) for b in benefits)
    return {
        "lifetime_mismatches": float(mismatches),
        "prior_error": float(error),
        **_schedules(seed, 6 if quick else 16),
    }


def _schedules(seed: int, programs: int) -> dict[str, float]:
    cost, _ = llama_on_a100()

    def go(blocks: int, **schedule: Any) -> Ran:
        driver = make_workload("agent-bfcl", seed, rate=2.0, programs=programs, context=4096)
        return run(cost, capacities(blocks), driver, order="program-fcfs", **schedule)

    small = 512  # two longest contexts
    plain = go(small, retain="none", keep_steps=True)
    zero = go(small, retain="ttl(0)", keep_steps=True)
    ample = go(256 * programs, retain="ttl(100000s)")
    tight = go(256, retain="ttl(100000s)")
    fresh = make_workload("agent-bfcl", seed, rate=2.0, programs=programs, context=4096)
    needed = _needed_tokens(fresh, programs)
    unlike = sum(a != b for a, b in zip(plain.steps, zero.steps, strict=False))
    return {
        "steps_unlike_program_fcfs": float(unlike + abs(len(plain.steps) - len(zero.steps))),
        "recomputed_with_ample_memory": float(ample.stats.prompt_tokens - needed),
        "unfinished_in_one_request": float(tight.stats.submitted - sum(tight.stats.finished.values())),
        "pins_given_up_in_one_request": float(tight.stats.pins_given_up),
    }


def _needed_tokens(driver: Any, programs: int, page: int = 16) -> int:
    """Prompt tokens that a run with unlimited memory computes: each turn's, from its last turn's pages on.

    The first turn of every program computes all but the full pages of the shared opening, which only the
    first program to come computes.
    """
    total = 0
    for number, program in zip(range(programs), driver._programs, strict=False):
        opening = sum(span.length for span in program.opening)
        known, prompt = (0 if number == 0 else opening // page * page), opening
        for step in program.steps:
            prompt += step.fresh
            total += prompt - known
            prompt += step.output
            known = (prompt - 1) // page * page
    return total


# -- simulated ---------------------------------------------------------------------------------------

RATES = (0.05, 0.2, 0.3, 0.4)


@experiment(
    "continuum-swe",
    row="9",
    system="Continuum",
    kind="simulated",
    title="Job completion time of coding agents on Llama-3.1-8B, LRU and FCFS over Continuum, by load",
    bars=[
        Bar("jct_ratio_low_load", floor=0.95, ceiling=1.1, paper="no gain where nothing is evicted"),
        Bar("jct_ratio_high_load", floor=1.3, paper="1.12-3.66x (from a summary of the paper)"),
        Bar("rank_correlation_with_load", floor=0.8, paper="gains grow with the arrival rate"),
    ],
)
def continuum_swe(seed: int, quick: bool) -> dict[str, float]:
    """Sweep the arrival rate of programs."""
    cost, blocks = llama_on_a100()
    figures: dict[str, float] = {}
    ratios = []
    rates, programs = (RATES[::3], 10) if quick else (RATES, 40)
    for rate in rates:
        ran = {}
        for name, schedule in (("lru", LRU), ("continuum", CONTINUUM)):
            driver = make_workload("agent-swe", seed, rate=rate, programs=programs)
            ran[name] = run(
                cost, capacities(blocks), driver, max_num_batched_tokens=2048, max_num_seqs=256, **schedule
            )
            figures[f"{name}_jct_s_at_{rate:g}"] = ran[name].jct
            figures[f"{name}_prompt_tokens_at_{rate:g}"] = float(ran[name].stats.prompt_tokens)
        ratios.append(ran["lru"].jct / ran["continuum"].jct)
        figures[f"jct_ratio_at_{rate:g}"] = ratios[-1]
    # Beyond saturation all programs overlap and the curve is flat: two neighbours may change places.
    ranks, n = np.argsort(np.argsort(ratios)), len(ratios)
    apart = float(((ranks - np.arange(n)) ** 2).sum())
    return figures | {
        "jct_ratio_low_load": ratios[0],
        "jct_ratio_high_load": ratios[-1],
        "rank_correlation_with_load": 1 - 6 * apart / (n * (n * n - 1)),
    }


# -- real --------------------------------------------------------------------------------------------

AGENTS, TURNS, FRESH, ANSWER = 8, 5, 100, 8
CONTEXT = TURNS * (FRESH + ANSWER)


class Round:
    """Scripted agents against a real engine: each quotes the answers that it was really given.

    Args:
        engine: an `EngineCore`.
        name: begins the ids.
        seed: of texts and tool times.
        agents, turns, fresh, answer: how many, and the sizes of a turn in tokens.
    """

    def __init__(
        self,
        engine: Any,
        name: str,
        seed: int,
        agents: int = AGENTS,
        turns: int = TURNS,
        fresh: int = FRESH,
        answer: int = ANSWER,
    ) -> None:
        self._engine, self._name = engine, name
        self._agents, self._turns, self._fresh, self._answer = agents, turns, fresh, answer
        self._rng = np.random.default_rng(seed)
        self._page = engine.executor.spec().page_size
        self._vocab = engine.executor.spec().vocab_size
        self._due: list[tuple[float, int]] = []
        self._prompts: list[list[int]] = [[] for _ in range(agents)]
        self._turn = [0] * agents
        self._known = [0] * agents
        self._began = [0.0] * agents
        self.recomputed = 0
        """Tokens of contexts that an earlier turn had computed."""
        self.jct: list[float] = []

    def _send(self, agent: int) -> None:
        turn = self._turn[agent]
        self._prompts[agent] += self._rng.integers(3, self._vocab, self._fresh).tolist()
        self._engine.submit(
            RequestSpec(
                id=f"{self._name}-{agent}-{turn}",
                prompt_ids=tuple(self._prompts[agent]),
                sampling=SamplingParams(max_tokens=self._answer, temperature=0.0, ignore_eos=True),
                program=f"{self._name}-{agent}",
                turn=Turn(index=turn, last=turn == self._turns - 1, tool="scripted"),
            )
        )

    def play(self) -> None:
        """Run all agents to their ends; all begin at once."""
        start = time.monotonic()
        self._began = [start] * self._agents
        self._due = [(start, agent) for agent in range(self._agents)]
        while len(self.jct) < self._agents:
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._send(heapq.heappop(self._due)[1])
            if not self._engine.has_work():
                time.sleep(max(0.0, self._due[0][0] - now))
                continue
            for output in self._engine.tick():
                agent = int(output.request_id.split("-")[-2])
                self._prompts[agent] += output.tokens
                if output.finish is not None:
                    self.recomputed += max(0, self._known[agent] - output.cached_tokens)
                    self._after(agent)

    def _after(self, agent: int) -> None:
        now = time.monotonic()
        self._known[agent] = (len(self._prompts[agent]) - 1) // self._page * self._page
        self._turn[agent] += 1
        if self._turn[agent] == self._turns:
            self.jct.append(now - self._began[agent])
        else:
            heapq.heappush(self._due, (now + float(self._rng.uniform(0.05, 0.3)), agent))


@experiment(
    "continuum-tools",
    row="9",
    system="Continuum",
    kind="real",
    title="Recomputed tokens of 8 tool-calling agents in memory for 3, Continuum against LRU",
    bars=[
        Bar("recomputed_share", ceiling=0.3, paper="bubbles and recomputation go (no figure of this kind)"),
        Bar("jct_share", ceiling=0.85, paper="1/1.12 to 1/3.66 of vLLM's delay (from a summary)"),
    ],
)
def continuum_tools(seed: int, quick: bool) -> dict[str, float]:
    """Interleave rounds of both variants on one executor."""
    from penstock.config.settings import Config
    from penstock.engine.core import build_engine
    from penstock.executors.inline import build_executor

    executor = build_executor(Config())
    executor = _with_pool(executor, 3 * CONTEXT)
    engines = {
        name: build_engine(executor, ScheduleConfig(admit="unlimited", **schedule))
        for name, schedule in (("lru", LRU), ("continuum", CONTINUUM))
    }
    Round(engines["continuum"], f"history{seed}", seed, agents=120, turns=2, fresh=40, answer=1).play()
    counted = 1 if quick else 2
    recomputed: dict[str, float] = dict.fromkeys(engines, 0.0)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(1 + counted):
        for name, engine in engines.items():
            if name == "lru" and number == 0:
                continue
            engine.reset_prefix_cache()
            game = Round(engine, f"{name}{seed}.{number}", 100 * seed + number)
            before = engine.stats().recomputed_tokens
            game.play()
            if number:
                recomputed[name] += game.recomputed + engine.stats().recomputed_tokens - before
                times[name] += game.jct
    executor.close()
    figures = {f"{name}_recomputed_tokens": tokens / counted for name, tokens in recomputed.items()}
    figures |= {f"{name}_jct_s": statistics.mean(jct) for name, jct in times.items()}
    return figures | {
        "recomputed_share": recomputed["continuum"] / recomputed["lru"],
        "jct_share": statistics.mean(times["continuum"]) / statistics.mean(times["lru"]),
    }


class _SmallPool:
    """An executor that says that it has fewer blocks; everything else passes through."""

    def __init__(self, executor: Any, blocks: int) -> None:
        import msgspec

        self._executor = executor
        self._spec: ExecutorSpec = msgspec.structs.replace(executor.spec(), blocks=blocks)

    def spec(self) -> ExecutorSpec:
        return self._spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)


def _with_pool(executor: Any, tokens: int) -> Any:
    """Return the executor with memory for so many tokens only."""
    return _SmallPool(executor, -(-tokens // executor.spec().page_size))
