"""BatchLLM (arXiv 2412.03594): an offline job's common prefixes, each computed once and held explicitly.

Simulated: Llama-3.1-8B on one A100 (roofline; the paper's micro-benchmark ran Qwen2.5-7B), 400 groups of 16
prompts with 2000 shared and 200 own tokens, shuffled, answers of 100 tokens on average (ours; the paper's
lengths are not known to us). Memory holds 10 prefixes, 20 000 tokens. The baseline is LRU and first come
first served; nobody is admitted without room for the whole answer, in any variant. About a minute and a half,
5 s when quick. The order by decode ratio is measured alone: 100 such groups whose answers differ in length by
group (lognormal, 100 tokens on average, at most 1000), all the card's memory, no cap on sequences:
25 s a seed.
Real: 16 prompts in 2 groups on the bundled model, in batch-invariant mode, against no sharing at all. 15 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.continuum import Ran, llama_on_a100, run
from penstock.sim.build import capacities
from penstock.workload.driver import OpenLoop
from penstock.workload.prefix_groups import find_groups, total_tokens, trie_tokens
from penstock.workload.registry import make_workload
from penstock.workload.request import Span, TraceRequest

SHARED, OWN, EACH = 2000, 200, 16
POOL_PREFIXES = 10
GROUPED: dict[str, Any] = {"order": "prefix-groups", "retain": "groups", "prefix_wait": True}
LRU: dict[str, Any] = {"order": "fcfs", "retain": "none", "prefix_wait": False}


def _job(seed: int, groups: int, each: int, shared: int, **schedule: Any) -> Ran:
    cost, _ = llama_on_a100()
    driver = make_workload("batch-prefix", seed, groups=groups, each=each, shared=shared)
    spec = capacities(POOL_PREFIXES * shared // 16, slots=512)
    return run(cost, spec, driver, max_num_batched_tokens=2048, max_num_seqs=512, reserve="final", **schedule)


@experiment(
    "batchllm-prefixes",
    row="10",
    system="BatchLLM",
    kind="simulated",
    title="Computed prompt tokens and makespan of 400 x 16 x (2000 + 200), memory for 10 prefixes",
    bars=[
        Bar("tokens_beyond_2080000", floor=0, ceiling=0, paper="2.08 M of 14.08 M (arithmetic)"),
        Bar("makespan_ratio", floor=1.3, paper="1.1-2x and 1.3-10.8x vLLM and SGLang (two versions)"),
    ],
)
def batchllm_prefixes(seed: int, quick: bool) -> dict[str, float]:
    """Run the job grouped, and as it came."""
    groups, each, shared = (20, 8, SHARED) if quick else (400, EACH, SHARED)
    grouped = _job(seed, groups, each, shared, **GROUPED)
    plain = _job(seed, groups, each, shared, **LRU)
    expected = groups * (shared + each * OWN)

    def computed(ran: Ran) -> int:
        return ran.stats.prompt_tokens + ran.stats.recomputed_tokens

    return {
        "grouped_prompt_tokens": float(computed(grouped)),
        "lru_prompt_tokens": float(computed(plain)),
        "all_prompt_tokens": float(groups * each * (shared + OWN)),
        # A quick run is a smaller job, held to its own sum.
        "tokens_beyond_2080000": float(computed(grouped) - expected),
        "lru_hit_share": plain.stats.prefix_hit_tokens / plain.stats.prefix_query_tokens,
        "grouped_hit_share": grouped.stats.prefix_hit_tokens / grouped.stats.prefix_query_tokens,
        "grouped_makespan_s": grouped.end,
        "lru_makespan_s": plain.end,
        "makespan_ratio": plain.end / grouped.end,
    }


def uneven(
    seed: int, groups: int, each: int = EACH, shared: int = SHARED, own: int = OWN
) -> Iterator[TraceRequest]:
    """Yield a job whose groups differ in how much they generate: lognormal, 100 tokens, at most 1000."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(100) - 0.72, 1.2, groups), 8, 1000).astype(int).tolist()
    for group, length in enumerate(lengths):
        for member in range(each):
            number = group * each + member
            yield TraceRequest(
                id=f"g{group}.{member}",
                arrival=0.0,
                prompt=(Span(1 + group, shared), Span(1 + groups + number, own)),
                output_tokens=length,
                group=f"g{group}",
                group_tokens=shared,
            )


@experiment(
    "batchllm-order",
    row="10",
    system="BatchLLM",
    kind="simulated",
    title="Makespan of groups by decode ratio against groups as they came, everything else alike",
    bars=[Bar("makespan_ratio", floor=1.05, paper="decode-heavy work at the end under-fills batches")],
)
def batchllm_order(seed: int, quick: bool) -> dict[str, float]:
    """Run the uneven job in both orders."""
    cost, blocks = llama_on_a100()
    ends = {}
    for by in ("arrival", "ratio"):
        ran = run(
            cost,
            capacities(blocks, slots=2048),
            OpenLoop(uneven(seed, 30 if quick else 100)),
            max_num_batched_tokens=2048,
            max_num_seqs=2048,
            reserve="final",
            **{**GROUPED, "order": f"prefix-groups(by={by})"},
        )
        ends[by] = ran.end
    return {f"{by}_makespan_s": end for by, end in ends.items()} | {
        "makespan_ratio": ends["arrival"] / ends["ratio"]
    }


@experiment(
    "batchllm-groups",
    row="10",
    system="BatchLLM",
    kind="property",
    title="Prefix groups of random lists: cover, and totals between the whole trie and its first level",
    bars=[
        Bar("misplaced_prompts", ceiling=0, paper="each prompt is in exactly one group"),
        Bar("totals_out_of_order", ceiling=0, paper="one level costs 56 to 55 % of the saving's share"),
        Bar("batch_prefix_beyond_2080000", floor=0, ceiling=0, paper="2.08 M of 14.08 M (arithmetic)"),
    ],
)
def batchllm_groups(seed: int, quick: bool) -> dict[str, float]:
    """Draw lists, and divide the paper's micro-benchmark."""
    rng = np.random.default_rng(seed)
    misplaced = disorder = 0
    lost = []
    for _ in range(100 if quick else 1000):
        count, alphabet, unit = int(rng.integers(1, 20)), int(rng.integers(2, 4)), int(rng.integers(1, 4))
        prompts = [rng.integers(0, alphabet, rng.integers(1, 16)).tolist() for _ in range(count)]
        totals = []
        for method in ("optimal", "enlarge", "first-level"):
            groups = find_groups(prompts, unit=unit, method=method)
            places = sorted(place for group in groups for place in group.members)
            misplaced += places != list(range(count))
            totals.append(total_tokens(prompts, groups))
        least = trie_tokens(prompts, unit)
        disorder += not least <= totals[0] <= totals[1] <= totals[2]
        lost.append(totals[1] - totals[0])
    size = 20 if quick else 400
    starts = rng.permutation(size * (EACH + 1)) * 4096
    job = [
        [*range(starts[g], starts[g] + SHARED), *range(starts[size + n], starts[size + n] + OWN)]
        for n, g in enumerate(rng.permutation(np.repeat(np.arange(size), EACH)).tolist())
    ]
    found = total_tokens(job, find_groups(job, unit=16))
    return {
        "misplaced_prompts": float(misplaced),
        "totals_out_of_order": float(disorder),
        "enlargement_beyond_optimum": float(np.mean(lost)),
        "batch_prefix_beyond_2080000": float(found - size * (SHARED + EACH * OWN)),
    }


@experiment(
    "batchllm-real",
    row="10",
    system="BatchLLM",
    kind="real",
    title="16 prompts in 2 groups on the bundled model: outputs, order, and tokens computed",
    bars=[
        Bar("outputs_unlike_unshared", ceiling=0, paper="outputs are those of the unshared run, in order"),
        Bar("tokens_beyond_expected", floor=0, ceiling=0, paper="each prefix is computed once"),
    ],
)
def batchllm_real(seed: int, quick: bool) -> dict[str, float]:
    """Generate with and without sharing; the same model, and reductions that do not depend on the batch."""
    from penstock.frontend.llm import LLM

    rng = np.random.default_rng(seed)
    shared, own, groups, each = 128, 40, 2, 8
    heads = [rng.integers(3, 3000, shared).tolist() for _ in range(groups)]
    order = rng.permutation(np.repeat(np.arange(groups), each)).tolist()
    prompts = [heads[group] + rng.integers(3, 3000, own).tolist() for group in order]
    params = [{"temperature": 0.0, "ignore_eos": True, "max_tokens": int(n)} for n in rng.integers(4, 17, 16)]
    answers, computed = {}, {}
    for name, caching in (("unshared", False), ("grouped", True)):
        with LLM(batch_invariant=True, enable_prefix_caching=caching) as llm:
            results = llm.generate(prompts, params, group_prefixes=caching)
            answers[name] = [result.outputs[0].token_ids for result in results]
            computed[name] = llm.stats().prompt_tokens
    unlike = sum(a != b for a, b in zip(answers["unshared"], answers["grouped"], strict=True))
    return {
        "outputs_unlike_unshared": float(unlike),
        "unshared_prompt_tokens": float(computed["unshared"]),
        "grouped_prompt_tokens": float(computed["grouped"]),
        "tokens_beyond_expected": float(computed["grouped"] - groups * shared - len(prompts) * own),
    }
