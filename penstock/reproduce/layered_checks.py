"""Layered prefill ("From Tokens to Layers", 2025): each row in each layer once, and a tiny real mixture.

Property: 200 random runs a seed on a fake model that checks every (row, layer), half of them short of memory,
where only the fake model and the decodes are looked at. 5 s. Real: a Qwen3-MoE of 12 layers, 8 experts and
random weights through the inline executor; experts are counted where the model reads them. 10 s.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from penstock.core.executor import ExecutorSpec
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.random_runs import LAYERS, population, steps


@experiment(
    "layered-steps",
    row="7",
    system="Layered prefill",
    kind="property",
    title="Every (token, layer) once, decodes through all layers, G steps to the first token; random runs",
    bars=[
        Bar("wrong_row_layers", floor=0.0, ceiling=0.0),
        Bar("stalled_decodes", floor=0.0, ceiling=0.0, paper="every decode passes all layers each step"),
        Bar("wrong_steps", floor=0.0, ceiling=0.0, paper="exactly G steps"),
    ],
)
def layered_steps(seed: int, quick: bool) -> dict[str, float]:
    """Check every step of random runs, some short of memory; the fake model checks the order of layers."""
    figures = dict.fromkeys(("wrong_row_layers", "stalled_decodes", "wrong_steps", "cohorts"), 0.0)
    for turn in range(20 if quick else 200):
        rng = np.random.default_rng([seed, turn])
        stages, unit = int(rng.integers(2, 8)), int(rng.integers(1, 8))
        tight = bool(turn % 2)
        requests = population(rng)
        passed = took = 0
        for step in steps(requests, f"layered({stages}, 40, {unit})", budget=64, blocks=20 if tight else 300):
            shape = step.plan.shape
            passed += (
                shape.tokens - shape.cohort_tokens
            ) * LAYERS + shape.cohort_tokens * shape.cohort_layers
            staged = {n: i for n, i in step.items.items() if step.plan.items[i].layers is not None}
            for name in step.due - set(staged):
                given = step.items.get(name)
                figures["stalled_decodes"] += given is None or step.plan.items[given].layers is not None
            if not staged:
                continue
            first, stop = step.plan.items[-1].layers or (0, LAYERS)
            took = 1 if first == 0 else took + 1
            if stop == LAYERS and not tight:
                figures["cohorts"] += 1
                figures["wrong_steps"] += took != min(_groups(shape.cohort_tokens, stages, unit), LAYERS)
        if not tight:
            wanted = sum(r.prompt + r.output - 1 for r in requests) * LAYERS
            figures["wrong_row_layers"] += abs(passed - wanted)
    return figures


def _groups(tokens: int, stages: int, unit: int) -> int:
    """Return the groups that the paper's rule gives: doubling with the tokens, up to all stages."""
    groups = 1
    while groups < stages and tokens > unit * groups:
        groups *= 2
    return min(groups, stages)


TINY = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 64,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "moe_intermediate_size": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "vocab_size": 512,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "eos_token_id": 2,
    "torch_dtype": "float32",
}


@experiment(
    "layered-real",
    row="7",
    system="Layered prefill",
    kind="real",
    title="A tiny mixture (12 layers, 8 experts): loads, rows and logits, layered(6) against chunks of 64",
    bars=[
        Bar("load_change", ceiling=-0.2, paper="chunking costs up to 39 % more expert traffic"),
        Bar("rows_ratio", floor=1.0, ceiling=1.0, paper="the same work"),
        Bar("steps_to_first_token", floor=6, ceiling=6),
        Bar("largest_difference", ceiling=1e-4),
    ],
)
def layered_real(seed: int, quick: bool) -> dict[str, float]:
    """Count what both shapes read while a 384-token prompt is computed beside two decodes."""
    from penstock.models.load import load_model

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(TINY))
        decoder = load_model(folder, load_format="dummy", seed=seed, dtype="float32")
    runs = {}
    for shape in ("layered(6, 384, 16)", "chunked(66)"):
        runs[shape] = _CountedRun(decoder, seed)
        runs[shape].run(shape)
    layered, chunked = runs.values()
    difference = max(
        float((layered.logits[key] - chunked.logits[key]).abs().max())
        for key in layered.logits.keys() & chunked.logits.keys()
    )
    return {
        "load_change": layered.loads / chunked.loads - 1,
        "rows_ratio": layered.rows / chunked.rows,
        "steps_to_first_token": float(layered.steps),
        "largest_difference": difference,
    }


class _CountedRun:
    """One run of a mixture that counts the experts of every layer call, and keeps the sampled rows' logits.

    Args:
        decoder: the model.
        seed: of the prompts.
    """

    def __init__(self, decoder: Any, seed: int) -> None:
        self._decoder = decoder
        self._seed = seed
        self.loads = self.rows = self.steps = 0
        self.logits: dict[tuple[int, int], Any] = {}
        """By slot and position."""

    def run(self, shape: str) -> None:
        """Serve two decodes and one long prompt."""
        from penstock.config.settings import CacheConfig, ScheduleConfig
        from penstock.core.request import RequestSpec, SamplingParams
        from penstock.engine.core import build_engine
        from penstock.executors.inline import InlineExecutor

        decoder, layers = self._decoder, len(self._decoder.spec.blocks)
        spec = ExecutorSpec(
            slots=3, blocks=80, page_size=16, max_model_len=1024, vocab_size=512, layers=layers
        )
        executor = InlineExecutor(decoder, decoder.new_kv(80, 16), spec, defer=False)
        schedule = ScheduleConfig(
            max_num_seqs=3, max_num_batched_tokens=400, shape=shape, order="fcfs", admit="unlimited"
        )
        engine = build_engine(executor, schedule, CacheConfig(enable_prefix_caching=False))
        self._watch(executor)
        rng = np.random.default_rng(self._seed)
        for name, prompt, output in (("a", 4, 12), ("b", 4, 12), ("long", 384, 1)):
            ids = tuple(rng.integers(3, 512, prompt).tolist())
            sampling = SamplingParams(max_tokens=output, temperature=0.0, ignore_eos=True)
            engine.submit(RequestSpec(id=name, prompt_ids=ids, sampling=sampling))
            if name == "b":
                engine.tick()
        plain, decoder.ops = decoder.ops, _CountedOps(decoder.ops, self)
        try:
            while "long" in engine.scheduler.state.sequences:
                engine.tick()
                self.steps += 1
        finally:
            decoder.ops = plain
        while engine.has_work():
            engine.tick()
        # Both shapes end with the same work but for decodes beside the prompt: count the prompt's rows alone.
        self.rows -= 2 * layers * self.steps

    def _watch(self, executor: Any) -> None:
        sampler, logits = executor.runner.sampler, self.logits

        class Watching:
            def __getattr__(self, name: str) -> Any:
                return getattr(sampler, name)

            def __call__(self, logits_RV: Any, slots_R: Any, positions_R: Any) -> Any:
                for row, key in enumerate(zip(slots_R.tolist(), positions_R.tolist(), strict=True)):
                    logits[key] = logits_RV[row].clone()
                return sampler(logits_RV, slots_R, positions_R)

        executor.runner.sampler = Watching()


class _CountedOps:
    """Passes operations on and counts what mixture layers read."""

    def __init__(self, ops: Any, run: _CountedRun) -> None:
        self._ops, self._run = ops, run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ops, name)

    def experts(self, x_NE: Any, weights_NK: Any, ids_NK: Any, *rest: Any) -> Any:
        """Count distinct experts and rows."""
        self._run.loads += len(ids_NK.unique())
        self._run.rows += len(x_NE)
        return self._ops.experts(x_NE, weights_NK, ids_NK, *rest)
