"""The reasoning-model study: what dropping thoughts does to the prefix cache, and accuracy, service and user
time of a small real model at three budgets (simulated 5 s, real 30 s). Swings of KV use and stragglers are
in `penstock.reproduce.workloads`."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import numpy as np

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig, ServerConfig
from penstock.cost.spec import load_cost
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.simulated import simulate
from penstock.reproduce.workloads import MODEL, Batches, device
from penstock.sim.executor import StepSeen
from penstock.workload.driver import OpenLoop, Served, World
from penstock.workload.drivers.programs import Program, Programs, Step
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest
from penstock.workload.suites.systems import Difficulties

BUDGETS = (4, 8, 32)
"""Tokens: less than the arithmetic needs, about what it needs, and plenty."""


SETS = {"easy": 800.0, "middle": 2500.0, "hard": 7000.0}
"""Mean answers of data sets by difficulty, as in the mixed workload; the study runs each set by itself."""


def pool_use(mean: float, sigma: float, batches: int, seed: int) -> np.ndarray:
    """Return [steps, 2]: seconds of each step, and the share of the KV pool in use, batch after batch."""
    spec, seen = device(), []
    capacity = spec.blocks * spec.page_size

    def note(step: StepSeen) -> None:
        shape = step.plan.shape
        seen.append((step.end - step.start, (shape.kv_tokens + shape.tokens) / capacity))

    lengths = Difficulties("lognormal:150:0.5", (mean,), (1.0,), sigma, 8192)
    driver = Batches(lengths, batches, 0.0, seed)
    simulate(load_cost(f"{MODEL}@h100"), spec, driver, observe=note, max_num_seqs=256)
    return np.array(seen)


def _spread(runs: list[np.ndarray]) -> dict[str, float]:
    seconds, use = np.concatenate(runs).T
    mean = float(np.average(use, weights=seconds))
    deviation = float(np.sqrt(np.average((use - mean) ** 2, weights=seconds)))
    return {"most": float(use.max()), "deviation": deviation, "cv": deviation / mean}


@experiment(
    "reasoning-swing",
    row="18",
    system="reasoning models",
    kind="simulated",
    title="KV use over three data sets, each run by itself as in the study, against a plain model's",
    bars=(
        Bar("reasoning_most", floor=0.3, paper="3 to 70 % of the pool"),
        Bar("most_ratio", floor=5.0, paper="70 % against below 3 %"),
        Bar("deviation_ratio", floor=5.0),
    ),
)
def swing(seed: int, quick: bool) -> dict[str, float]:
    """Use and deviation are shares of the pool; ``cv_ratio`` relates each deviation to its own mean."""
    batches = 1 if quick else 2
    thinking = _spread([pool_use(mean, 0.6, batches, seed) for mean in SETS.values()])
    plain = _spread([pool_use(300.0, 0.4, batches, seed) for _ in SETS])
    found = {f"reasoning_{key}": value for key, value in thinking.items()}
    found |= {f"plain_{key}": value for key, value in plain.items()}
    return found | {f"{key}_ratio": thinking[key] / plain[key] for key in thinking}


class Noting(Programs):
    """Programs that keep what came of each turn."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.results: dict[str, Served] = {}

    def served(self, result: Served, world: World) -> None:
        """Keep the result."""
        self.results[result.request.id] = result
        super().served(result, world)


def conversations(seed: int, count: int, drop: bool) -> Noting:
    """Return conversations of six turns with a reasoning model: thoughts of 600 tokens on average."""
    rng = np.random.default_rng(seed)

    def programs() -> Any:
        for number in range(count):
            steps = []
            for _ in range(6):
                think = round(float(rng.lognormal(np.log(600) - 0.32, 0.8)))
                visible = int(rng.integers(50, 250))
                steps.append(Step(int(rng.integers(20, 120)), think + visible, 5.0, think=think))
            yield Program(id=f"p{number}", arrival=2.0 * number, steps=steps, opening=(Span(1, 200),))

    return Noting(programs(), itertools.count(10), drop_thoughts=drop)


@experiment(
    "reasoning-thoughts",
    row="18",
    system="reasoning models",
    kind="simulated",
    title="Thoughts that the next prompt leaves out end the reusable prefix where they began",
    bars=(
        Bar("reuse_beyond_thought_tokens", ceiling=0),
        Bar("reused_share_dropped", floor=0.3),
        Bar("kept_over_dropped", floor=1.0),
    ),
)
def thoughts(seed: int, quick: bool) -> dict[str, float]:
    """Run the same conversations with thoughts dropped and with thoughts quoted."""
    shares, beyond, prompts = {}, 0, {}
    for drop in (True, False):
        driver = conversations(seed, 10 if quick else 100, drop)
        simulate(load_cost(f"{MODEL}@h100"), device(), driver, caching=True)
        later = {
            name: one for name, one in driver.results.items() if one.request.turn and one.request.turn.index
        }
        cached = sum(one.cached_tokens for one in later.values())
        prompts[drop] = sum(one.request.prompt_tokens for one in later.values())
        shares[drop] = cached / prompts[drop]
        if drop:
            for name, one in later.items():
                program, _, turn = name.partition(".")
                before = driver.results[f"{program}.{int(turn) - 1}"].request
                beyond += max(0, one.cached_tokens - before.prompt_tokens)
    return {
        "reused_share_dropped": shares[True],
        "reused_share_kept": shares[False],
        "kept_over_dropped": shares[False] / shares[True],
        "reuse_beyond_thought_tokens": float(beyond),
        "prompt_tokens_kept_over_dropped": prompts[False] / prompts[True],
    }


class Asked(OpenLoop):
    """Sends all at once and keeps the tokens of the answers."""

    def __init__(self, requests: list[TraceRequest]) -> None:
        super().__init__(requests)
        self.answers: dict[str, tuple[int, ...]] = {}

    def served(self, result: Served, world: World) -> None:
        """Keep the tokens."""
        self.answers[result.request.id] = result.tokens


async def _at_budgets(seed: int, count: int) -> dict[str, float]:
    from penstock.bench.live import LiveWorld
    from penstock.frontend.async_engine import AsyncEngine
    from penstock.frontend.prompts import Chat
    from penstock.zoo.data.arithmetic import SKILL
    from penstock.zoo.data.base import draw

    rng = random.Random(f"reasoning:{seed}")
    turns = {f"q{number}": draw(SKILL, rng, "test")[-1] for number in range(count)}
    # Follow-ups ("and 3 + 4?") would need the turn before.
    turns = {
        name: turn for name, turn in turns.items() if not turn.user.startswith(("and", "what about", "ok"))
    }
    found: dict[str, float] = {}
    config = Config(
        model=ModelConfig(),
        cache=CacheConfig(kv_cache_memory_bytes=64 << 20),
        schedule=ScheduleConfig(max_num_seqs=32),
        server=ServerConfig(inproc=True),
    )
    async with await AsyncEngine.start(config) as engine:
        for budget in (BUDGETS[0], *BUDGETS):  # the first run warms up and is overwritten
            driver = Asked([_question(name, budget) for name in turns])

            def ask(request: TraceRequest) -> tuple[Chat, dict[str, Any]]:
                chat = Chat(messages=[{"role": "user", "content": turns[request.id].user}])
                return chat, {"temperature": 0.0, "max_tokens": request.output_tokens}

            collector = Collector("exact")
            await LiveWorld([engine], driver, collector, ask=ask).run(120)
            figures = collector.summary()
            texts = {name: engine.tokenizer.decode(ids) for name, ids in driver.answers.items()}
            right = sum(SKILL.check(turn, texts[name]) for name, turn in turns.items())
            found[f"accuracy_{budget}"] = right / len(turns)
            found[f"tokens_per_second_{budget}"] = figures["output_throughput"]
            found[f"ttft_ms_{budget}"] = figures["mean_ttft_ms"]
            found[f"e2e_ms_{budget}"] = figures["mean_e2el_ms"]
            shown = _first_shown(driver, collector, engine.tokenizer.decode)
            if shown:
                found[f"ttfvt_ms_{budget}"] = 1000 * float(np.mean(shown))
    found["accuracy_gain"] = found[f"accuracy_{BUDGETS[-1]}"] - found[f"accuracy_{BUDGETS[0]}"]
    found["ttfvt_over_ttft"] = found[f"ttfvt_ms_{BUDGETS[-1]}"] / found[f"ttft_ms_{BUDGETS[-1]}"]
    return found


def _question(name: str, budget: int) -> TraceRequest:
    return TraceRequest(id=name, arrival=0.0, prompt=(Span(1, 1),), output_tokens=budget)


def _first_shown(driver: Asked, collector: Collector, decode: Any) -> list[float]:
    """Return the seconds until the first token after the equals sign, of answers that got there.

    The model works aloud ("7 + 5 = 12"); what stands before the sign is taken for its thought.
    """
    found = []
    for name, ids in driver.answers.items():
        until = next((n for n in range(1, len(ids)) if "=" in decode(ids[:n])), 0)
        if until:
            arrival = collector.columns["arrival"][collector.rows[name]]
            found.append(float(collector.token_times[name][until] - arrival))
    return found


@experiment(
    "reasoning-budgets",
    row="18",
    system="reasoning models",
    kind="real",
    title="Accuracy, service and user time of the bundled model's arithmetic at 4, 8 and 32 tokens",
    bars=(
        Bar(
            "accuracy_32", floor=0.5, paper="budgets of 4096 to 8192 tokens are enough for the study's models"
        ),
        Bar("accuracy_gain", floor=0.0),
        Bar("ttfvt_over_ttft", floor=1.0, paper="first visible token waits for the thought"),
    ),
)
def budgets(seed: int, quick: bool) -> dict[str, float]:
    """Ask 96 held-out problems (24 when quick) at once, greedily."""
    return asyncio.run(_at_budgets(seed, 24 if quick else 96))
