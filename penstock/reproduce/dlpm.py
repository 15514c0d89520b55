"""DLPM (arXiv 2501.14312): its bounds on random worlds; trees of thoughts and long documents, simulated.

Property: 1,000 random worlds whose prompts share prefixes. About 150 s on one core, 3 s when quick.
Simulated: roofline of Llama-3.2-3B on an A10G (the paper's pair), prefix caching, room reserved for final
sizes, every client above its share. About 60 s a seed, 10 s when quick.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penstock.cost.hardware import hardware
from penstock.cost.models import model_shape
from penstock.cost.roofline import kv_blocks
from penstock.cost.spec import load_cost
from penstock.engine.core import EngineCore
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.fairness import Probe, World, play, random_world
from penstock.reproduce.service import Run, serve
from penstock.sim.build import capacities
from penstock.workload.driver import Driver
from penstock.workload.metrics.fairness import jain
from penstock.workload.suites import locality

MODEL, CARD = "llama-3.2-3b", "a10g"


class Watch:
    """Follows the deficits and the service difference of one world under a quantum."""

    def __init__(self, world: World, quantum: int) -> None:
        self.u, self.quantum = world.bounds.u_additive, quantum
        self.lowest = self.highest = 0.0
        self.probe = Probe(extend=True)
        order = f"dlpm({quantum})"
        self.outcome = play(world, self.probe, self._check, seconds=3000.0, order=order, reserve="final")

    def _check(self, engine: EngineCore) -> None:
        deficits = engine.scheduler.state.policies.order.deficits  # type: ignore[attr-defined]
        self.lowest = min(self.lowest, *deficits.values())
        self.highest = max(self.highest, *deficits.values())

    @property
    def difference(self) -> float:
        """Largest service difference over the bound 2 (U + Q)."""
        return self.probe.worst_difference / (2 * (self.u + self.quantum))

    @property
    def miscounted(self) -> int:
        """Prompt tokens charged but not computed, or the reverse."""
        return abs(self.probe.input_charged - self.outcome.engine.stats().prompt_tokens)


def admissions(world: World, order: str) -> list[str]:
    """Return the ids of a world's requests as an order admits them."""
    return play(world, Probe(), seconds=3000.0, order=order, reserve="final").probe.admitted


@experiment(
    "dlpm-bound",
    row="2",
    system="dlpm",
    kind="property",
    title="deficits stay in (-U, Q], service within 2(U+Q); an infinite quantum is longest prefix match",
    bars=(
        Bar("violations_deficit", ceiling=0, paper="invariant: -U < q <= Q, U = w_e L_in + w_q M"),
        Bar("violations_service", ceiling=0, paper="theorem: |W_f - W_g| <= 2 (U + Q)"),
        Bar("orders_unlike_lpm", ceiling=0, paper="Q = infinity is LPM"),
        Bar("tokens_miscounted", ceiling=0),
        Bar("preemptions", ceiling=0),
    ),
    fixed=True,
)
def bound(seed: int, quick: bool) -> dict[str, float]:
    """1,000 random worlds (15 when quick), a tenth of them also under lpm and an infinite quantum."""
    runs = 15 if quick else 1000
    seen, unlike = [], 0
    for run in range(runs):
        rng = np.random.default_rng((seed, run))
        world = random_world(rng, shared=True, seconds=120.0)
        seen.append(Watch(world, int(rng.integers(10, 1000))))
        if run % 10 == 0:
            unlike += admissions(world, "lpm") != admissions(world, "dlpm(quantum=inf)")
    return {
        "runs": runs,
        "violations_deficit": sum(not -one.u < one.lowest <= one.highest <= one.quantum for one in seen),
        "violations_service": sum(one.difference > 1 for one in seen),
        "orders_unlike_lpm": unlike,
        "tokens_miscounted": sum(one.miscounted for one in seen),
        "preemptions": sum(one.outcome.preemptions for one in seen),
        "worst_service_over_bound": max(one.difference for one in seen),
        "deepest_debt_over_u": max(-one.lowest / one.u for one in seen),
    }


def run_suite(make: Callable[..., Driver], seed: int, rate: float, seconds: float, order: str) -> Run:
    """Run a suite until ``seconds`` on the paper's model and card."""
    shape = model_shape(MODEL)
    spec = capacities(kv_blocks(hardware(CARD), shape), page_size=16, slots=256)
    driver = make(seed, rate=rate, duration=seconds)
    return serve(
        driver,
        load_cost(f"{MODEL}@{CARD}"),
        spec,
        until=seconds,
        caching=True,
        order=order,
        max_num_batched_tokens=2048,
    )


def compare(
    make: Callable[..., Driver], seed: int, rate: float, seconds: float, quantum: int
) -> dict[str, float]:
    """Return throughput, Jain's index of computed service and hit rate, after a quarter of the time."""
    figures, through = {}, {}
    for name, order in {"lpm": "lpm", "dlpm": f"dlpm({quantum})", "vtc": "vtc(charge=extend)"}.items():
        run = run_suite(make, seed, rate, seconds, order)
        begin, stats = seconds / 4, run.stats
        through[name] = run.log.throughput(begin, seconds)
        figures[f"{name}_tokens_per_s"] = through[name]
        figures[f"{name}_jain"] = jain(list(run.log.served(begin, seconds).values()))
        figures[f"{name}_hit_rate"] = stats.prefix_hit_tokens / max(1, stats.prefix_query_tokens)
    return figures | {
        "throughput_of_vtc": through["dlpm"] / through["vtc"],
        "throughput_of_lpm": through["dlpm"] / through["lpm"],
    }


@experiment(
    "dlpm-tot",
    row="2",
    system="dlpm",
    kind="simulated",
    title="eight clients search trees of thoughts, one with trees of 340 requests (Llama-3.2-3B, A10G)",
    bars=(
        Bar("throughput_of_vtc", floor=1.5, paper="up to 2.87x VTC (over all workloads, eight workers)"),
        Bar("dlpm_jain", floor=0.85, paper="0.4 to 1.0 by quantum (figure 1)"),
        Bar("lpm_jain", ceiling=0.7),
    ),
)
def trees(seed: int, quick: bool) -> dict[str, float]:
    """Prompts of 546 and answers of 256 tokens; 2 trees a second, cut to 60 s when quick."""
    return compare(locality.tot, seed, 2.0, 60.0 if quick else 150.0, 8000)


@experiment(
    "dlpm-documents",
    row="2",
    system="dlpm",
    kind="simulated",
    title="eight clients ask about long documents, one four times as often (Llama-3.2-3B, A10G)",
    bars=(
        Bar("throughput_of_vtc", floor=1.5, paper="up to 2.87x VTC (over all workloads, eight workers)"),
        Bar("dlpm_jain", floor=0.85, paper="0.4 to 1.0 by quantum (figure 1)"),
        Bar("lpm_jain", ceiling=0.7),
    ),
)
def documents(seed: int, quick: bool) -> dict[str, float]:
    """Four questions of 49 tokens to each document of 21,400, answers of 15; a quantum of one document."""
    return compare(locality.qa, seed, 0.5, 80.0 if quick else 300.0, 30000)
