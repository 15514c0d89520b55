"""Layered prefill ("From Tokens to Layers", 2025): expert traffic and latency, simulated.

Expert loads: one 8192-token prompt beside d decodes through the production scheduler, 48 layers, against
chunks of 512; distinct experts per layer and step as uniform routing touches them (128 experts, 8 a token).
Simulated: the roofline of Qwen3-30B-A3B on two H100, recorded arXiv lengths (prompts of 2.6k tokens in the
mean as filtered by the authors), 400 Poisson requests, layered(16) against chunks of 512; the headline is 4
requests/s, the sweep shows where the gain ends. A dense model of the same cards is the control. 30 s a seed.
"""

from __future__ import annotations

from typing import Any

from penstock.core.executor import ExecutorSpec
from penstock.cost.hardware import hardware
from penstock.cost.models import model_shape
from penstock.cost.roofline import distinct_experts, kv_blocks
from penstock.cost.spec import load_cost
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.simulated import recorded_lengths, simulate
from penstock.sim.build import capacities
from penstock.sim.executor import StepSeen
from penstock.workload.arrivals import Gamma
from penstock.workload.driver import OpenLoop
from penstock.workload.generate import Client, mix
from penstock.workload.request import Span, TraceRequest

MIXTURE, DENSE = "qwen3-30b-a3b", "qwen3-32b"
PROMPT = 8192
DECODES = (8, 16, 32, 64)
RATE = 4.0
SWEEP = (2.0, 6.0, 9.0)
DENSE_RATE = 1.0
CHUNK = 512
SEQUENCES = 256


def device(model: str) -> ExecutorSpec:
    """Return the capacities of two H100 with a model whose layers can run in groups."""
    shape = model_shape(model)
    return capacities(kv_blocks(hardware("h100"), shape, 2), slots=SEQUENCES, layers=shape.layers)


def expert_loads(decodes: int, **schedule: Any) -> tuple[float, int]:
    """Return the experts read, over all layers, while a prompt is computed beside decodes; and the steps.

    Args:
        decodes: sequences that decode all the while.
        schedule: fields of `ScheduleConfig`.
    """
    model = model_shape(MIXTURE)
    loads, steps = 0.0, 0

    def note(step: StepSeen) -> None:
        nonlocal loads, steps
        shape = step.plan.shape
        if shape.decodes < decodes or not shape.prefill_tokens:
            return
        steps += 1
        part = shape.cohort_layers if shape.cohort_tokens else model.layers
        few = shape.tokens - (shape.cohort_tokens or 0)
        loads += part * distinct_experts(shape.tokens, model.experts, model.top_k)
        loads += (model.layers - part) * distinct_experts(few, model.experts, model.top_k)

    requests = [
        TraceRequest(id=f"d{n}", arrival=0.0, prompt=(Span(n + 2, 1),), output_tokens=400)
        for n in range(decodes)
    ]
    requests.append(TraceRequest(id="long", arrival=0.5, prompt=(Span(1, PROMPT),), output_tokens=1))
    cost = load_cost(f"{MIXTURE}@h100x2")
    simulate(cost, device(MIXTURE), OpenLoop(requests), observe=note, max_num_seqs=SEQUENCES, **schedule)
    return loads, steps


@experiment(
    "layered-experts",
    row="7",
    system="Layered prefill",
    kind="simulated",
    title="Experts read while an 8192-token prompt is computed, layered(16) against chunks of 512",
    bars=[
        Bar("change_d16", floor=-0.37, ceiling=-0.31, paper="chunking costs up to 39 % more expert traffic"),
        Bar("change_d64", floor=-0.03, ceiling=0.0, paper="no gain once decodes touch every expert"),
        Bar("change_d8", floor=-0.59, ceiling=-0.53),
        Bar("change_d32", floor=-0.15, ceiling=-0.09),
        Bar("steps_to_first_token", floor=16, ceiling=16, paper="16 groups for 8192 tokens"),
    ],
    fixed=True,
)
def layered_experts(seed: int, quick: bool) -> dict[str, float]:
    """Count the loads of both shapes at several numbers of decodes."""
    figures: dict[str, float] = {}
    for decodes in DECODES:
        chunked, _ = expert_loads(decodes, shape="chunked", max_num_batched_tokens=CHUNK + decodes)
        layered, steps = expert_loads(decodes, shape="layered", max_num_batched_tokens=PROMPT + decodes)
        figures[f"change_d{decodes}"] = layered / chunked - 1
        figures["steps_to_first_token"] = float(steps)
    return figures


def latencies(model: str, rate: float, count: int, seed: int, **schedule: Any) -> dict[str, float]:
    """Return the figures of one open-loop run on two H100."""
    pairs, _ = recorded_lengths("arxiv_summarization")
    driver = OpenLoop(mix([Client(arrivals=Gamma(rate), pairs=pairs, count=count)], seed))
    cost = load_cost(f"{model}@h100x2")
    return simulate(cost, device(model), driver, max_num_seqs=SEQUENCES, **schedule).summary()


LAYERED = {"shape": "layered", "max_num_batched_tokens": PROMPT + SEQUENCES}
CHUNKED = {"shape": "chunked", "max_num_batched_tokens": CHUNK}


@experiment(
    "layered-latency",
    row="7",
    system="Layered prefill",
    kind="simulated",
    title="Latency of Qwen3-30B-A3B on two H100, layered(16) against chunks of 512, arXiv lengths",
    bars=[
        Bar("ttft_change", floor=-0.70, ceiling=-0.20, paper="mean TTFT -30 % (repository), up to -70 %"),
        Bar("tpot_change", ceiling=0.0, paper="TPOT -23 % (repository, arXiv lengths)"),
        Bar("gain_lost_at_high_rate", floor=0.0, paper="(ours: the gain ends as decodes grow)"),
        Bar("gain_lost_when_dense", floor=0.0, paper="(ours: nothing to save without experts)"),
    ],
)
def layered_latency(seed: int, quick: bool) -> dict[str, float]:
    """Compare both shapes over rates, and on a dense model."""
    count = 100 if quick else 400
    figures: dict[str, float] = {}
    for rate in (RATE, *SWEEP[2:]) if quick else (RATE, *SWEEP):
        ours = latencies(MIXTURE, rate, count, seed, **LAYERED)
        theirs = latencies(MIXTURE, rate, count, seed, **CHUNKED)
        name = "" if rate == RATE else f"_at_{rate:g}"
        for key in ("ttft", "tpot", "e2el"):
            figures[f"{key}_change{name}"] = ours[f"mean_{key}_ms"] / theirs[f"mean_{key}_ms"] - 1
        figures[f"p99_itl_change{name}"] = ours["p99_itl_ms"] / theirs["p99_itl_ms"] - 1
        figures[f"chunked_ttft_ms{name}"] = theirs["mean_ttft_ms"]
    ours = latencies(DENSE, DENSE_RATE, count, seed, **LAYERED)
    theirs = latencies(DENSE, DENSE_RATE, count, seed, **CHUNKED)
    figures["dense_ttft_change"] = ours["mean_ttft_ms"] / theirs["mean_ttft_ms"] - 1
    figures["gain_lost_at_high_rate"] = figures[f"ttft_change_at_{SWEEP[-1]:g}"] - figures["ttft_change"]
    figures["gain_lost_when_dense"] = figures["dense_ttft_change"] - figures["ttft_change"]
    figures["recorded_lengths"] = float(recorded_lengths("arxiv_summarization")[1])
    return figures
