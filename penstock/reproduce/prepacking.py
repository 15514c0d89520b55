"""Prepacking (2024): the bundled model in rows of one length, fully padded, ordered by length, and packed.

64 prompts whose lengths are like those of MMLU questions (lognormal of mean 110 and sigma 0.8, between 15 and
768 tokens: ours, for the paper's table is not public), float32, random tokens. Length-ordered batching has
batches of 16. The variants are interleaved and the medians of their times compared. The engine's own, ragged
path computes every token once and no padding, which makes prepacking the identity there: it is measured too.
Logits are compared with those of each prompt alone: absolutely with random weights of the same shape, and
relative to the largest logit (over 20: float32 itself resolves 2e-6 there) with the trained ones. A minute.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from penstock.reproduce.base import Bar, experiment
from penstock.runtime.padded.packing import first_fit_decreasing

PROMPTS = 64
BATCH = 16


def lengths(seed: int, count: int = PROMPTS) -> list[int]:
    """Return prompt lengths like those of MMLU questions."""
    rng = np.random.default_rng(seed)
    drawn = rng.lognormal(np.log(110) - 0.8**2 / 2, 0.8, count)
    return np.clip(drawn, 15, 768).astype(int).tolist()  # type: ignore[no-any-return]


@experiment(
    "prepacking-time",
    row="6",
    system="Prepacking",
    kind="real",
    title="Prefill of 64 prompts on the bundled model: prepacked, ordered by length, fully padded, ragged",
    bars=[
        Bar("packed_over_padded", ceiling=0.5, paper=".441 s / 2.299 s = .19 (1.3B Llama, MMLU, A6000)"),
        Bar("packed_over_ordered", ceiling=1.0, paper=".441 s / .658 s = .67"),
        Bar("ordered_over_padded", ceiling=1.0, paper=".658 s / 2.299 s = .29"),
        Bar("largest_difference", ceiling=1e-5, paper="exact"),
        Bar("relative_difference_trained", ceiling=1e-5, paper="exact"),
        Bar("leaked", floor=0.0, ceiling=0.0, paper="prompts of a row do not see each other"),
        Bar(
            "ragged_rows_per_token", floor=1.0, ceiling=1.0, paper="(ours: the ragged engine has no padding)"
        ),
    ],
)
def prepacking_time(seed: int, quick: bool) -> dict[str, float]:
    """Time all variants, compare their logits, and look for leaks."""
    from penstock.models.load import load_model
    from penstock.runtime.padded.prefill import PaddedPrefill
    from penstock.zoo import bundled_model_path

    decoder = load_model(str(bundled_model_path()), dtype="float32")
    run = PaddedPrefill(decoder)
    rng = np.random.default_rng(seed)
    sizes = lengths(seed, 12 if quick else PROMPTS)
    prompts = [rng.integers(3, decoder.spec.vocab_size, size).tolist() for size in sizes]
    variants: dict[str, Callable[[], Any]] = {
        "packed": lambda: run.packed(prompts),
        "ordered": lambda: run.ordered(prompts, 4 if quick else BATCH),
        "padded": lambda: run.padded(prompts),
    }
    ragged = Ragged(decoder, sizes)
    seconds: dict[str, list[float]] = {name: [] for name in (*variants, "ragged")}
    results = {}
    for _ in range(1 if quick else 3):
        for name, variant in variants.items():
            began = time.perf_counter()
            results[name] = variant()
            seconds[name].append(time.perf_counter() - began)
        seconds["ragged"].append(ragged(prompts))
    figures = {f"{name}_ms": 1000 * statistics.median(times) for name, times in seconds.items()}
    for one, other in (("packed", "padded"), ("packed", "ordered"), ("ordered", "padded")):
        figures[f"{one}_over_{other}"] = figures[f"{one}_ms"] / figures[f"{other}_ms"]
    figures |= {f"{name}_rows_per_token": result.rows / sum(sizes) for name, result in results.items()}
    figures["ragged_rows_per_token"] = ragged.rows / sum(sizes)
    figures["bins"] = float(len(first_fit_decreasing([size - 1 for size in sizes], max(sizes) - 1)))
    largest, difference = _difference(run, prompts)
    figures["relative_difference_trained"] = difference / largest
    random = load_model(str(bundled_model_path()), dtype="float32", load_format="dummy", seed=seed)
    _, figures["largest_difference"] = _difference(PaddedPrefill(random), prompts)
    changed = [[5] * len(prompts[0]), *prompts[1:]]
    after_PV = run.packed(changed).logits_PV
    figures["leaked"] = float((after_PV[1:] != results["packed"].logits_PV[1:]).any(dim=1).sum())
    return figures


def _difference(run: Any, prompts: list[list[int]]) -> tuple[float, float]:
    """Return the largest logit, and the most that packing changes any."""
    import torch

    alone_PV = torch.cat([run.padded([prompt]).logits_PV for prompt in prompts])
    packed_PV = run.packed(prompts).logits_PV
    return float(alone_PV.abs().max()), float((packed_PV - alone_PV).abs().max())


class Ragged:
    """The engine's ordinary path: all prompts in one step, each row a token.

    Args:
        decoder: the model.
        sizes: lengths of the prompts that will be run.
    """

    PAGE = 32

    def __init__(self, decoder: Any, sizes: list[int]) -> None:
        from penstock.core.executor import ExecutorSpec
        from penstock.executors.inline import InlineExecutor

        blocks = sum(-(-(size + 1) // self.PAGE) for size in sizes)
        spec = ExecutorSpec(
            slots=len(sizes),
            blocks=blocks,
            page_size=self.PAGE,
            max_model_len=min(decoder.context, blocks * self.PAGE),
            vocab_size=decoder.spec.vocab_size,
        )
        self._executor = InlineExecutor(decoder, decoder.new_kv(blocks, self.PAGE), spec, defer=False)
        self.rows = 0
        """Rows that the last call computed."""

    def __call__(self, prompts: list[list[int]]) -> float:
        """Run prompts to their first token; return the seconds."""
        from penstock.config.settings import CacheConfig, ScheduleConfig
        from penstock.core.request import RequestSpec, SamplingParams
        from penstock.engine.core import build_engine

        total = sum(len(prompt) for prompt in prompts)
        schedule = ScheduleConfig(
            max_num_seqs=len(prompts), max_num_batched_tokens=total, admit="unlimited", reserve="known(0)"
        )
        engine = build_engine(self._executor, schedule, CacheConfig(enable_prefix_caching=False))
        sampling = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True)
        began = time.perf_counter()
        for n, prompt in enumerate(prompts):
            engine.submit(RequestSpec(id=f"p{n}", prompt_ids=tuple(prompt), sampling=sampling))
        while engine.has_work():
            engine.tick()
        self.rows = engine.stats().step_tokens
        return time.perf_counter() - began
