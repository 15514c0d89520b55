"""Acceptance of `penstock tune`: on unlike traffic it finds a composition well above the default.

Each trace presses one simulated replica harder than the default composition can bear; the composition is
found on one seed's requests and judged on requests of another seed that the search has not seen. About half a
minute a seed on an idle core.
"""

from __future__ import annotations

import msgspec

from penstock.reproduce.base import Bar, experiment
from penstock.sim.run import Scenario, evaluate, simulate
from penstock.sim.tune import Tuned, tune
from penstock.sim.tune_space import apply

HELD_OUT = 1000
"""Added to the seed for the requests on which the result is judged."""
GAIN = [Bar("gain_held_out", floor=1.3, paper="no paper: the project's own bar")]


def judged(scenario: Scenario, extra: int) -> dict[str, float]:
    """Tune on a scenario and compare the result with the default on requests not seen."""
    found = tune(scenario, evaluate, extra=extra, seed=scenario.seed)
    before, after = held_out(scenario, found)
    return {
        "gain": found.gain,
        "gain_held_out": after / before if before else float("inf") if after else 0.0,
        "goodput_default": before,
        "goodput_tuned": after,
        "runs": float(sum(count for count, _ in found.rounds)),
        "changes": float(len(found.ablations)),
    }


def held_out(scenario: Scenario, found: Tuned) -> tuple[float, float]:
    """Return the goodput (tokens per second without objectives) of default and best on other requests."""
    unseen = msgspec.structs.replace(scenario, seed=scenario.seed + HELD_OUT)
    tuned = apply(unseen, found.best.settings)
    assert tuned is not None
    before, after = (simulate(one).figures[found.objective] for one in (unseen, tuned))
    return before, after


def chat(seed: int, quick: bool) -> Scenario:
    """Conversations that arrive faster than one L4 can follow: first token within 1 s, 10 tokens a second."""
    count = 40 if quick else 120
    return Scenario(
        workload=f"chat:rate=1.2,conversations={count}",
        cost="llama-3.1-8b@l4",
        slo={"ttft": 1.0, "tpot": 0.1},
        seed=seed,
    )


def agents(seed: int, quick: bool) -> Scenario:
    """Coding agents whose contexts do not fit the cache together: first token of every turn within 2 s."""
    count = 5 if quick else 10
    return Scenario(
        workload=f"agent-swe:rate=0.06,programs={count}",
        cost="llama-3.1-8b@l4",
        slo={"ttft": 2.0, "tpot": 0.1},
        seed=seed,
    )


def summaries(seed: int, quick: bool) -> Scenario:
    """An offline job: eight questions on each of many papers, shuffled; only tokens per second count."""
    groups = 12 if quick else 60
    return Scenario(workload=f"batch-prefix:groups={groups},each=8", cost="llama-3.1-8b@l4", seed=seed)


@experiment("tune-chat", row="T", system="tune", kind="simulated", title="Tuning for chat", bars=GAIN)
def tune_chat(seed: int, quick: bool) -> dict[str, float]:
    """Conversations."""
    return judged(chat(seed, quick), 2 if quick else 8)


@experiment("tune-agents", row="T", system="tune", kind="simulated", title="Tuning for agents", bars=GAIN)
def tune_agents(seed: int, quick: bool) -> dict[str, float]:
    """Agents."""
    return judged(agents(seed, quick), 2 if quick else 8)


@experiment(
    "tune-summaries",
    row="T",
    system="tune",
    kind="simulated",
    title="Tuning for offline summaries",
    bars=GAIN,
)
def tune_summaries(seed: int, quick: bool) -> dict[str, float]:
    """A batch of summaries."""
    return judged(summaries(seed, quick), 2 if quick else 8)
