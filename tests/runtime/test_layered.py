"""Layered prefill on real models: the same logits, every row in every layer once, fewer expert loads."""

import random

import pytest
import torch

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import ConfigError, StepFault
from penstock.core.executor import ExecutorSpec
from penstock.core.plan import PlanShape, SlotInit, StepPlan, WorkItem
from penstock.core.request import SamplingParams
from penstock.engine.core import build_engine
from penstock.executors.faults import FailFor
from penstock.executors.inline import InlineExecutor
from penstock.models.load import load_model
from penstock.testing.builders import make_request
from tests.e2e.harness import Harness
from tests.models.families import VOCAB, make_model

FAMILIES = ["llama", "gemma3", "phi3", "opt-post", "gpt-neox", "mixtral", "qwen2-moe", "qwen3-moe"]
NEW = 6


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """A function from a family (and settings) to a decoder."""
    torch.set_num_threads(1)
    folders = {}

    def get(family, **settings):
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            make_model(family, folders[family])
        return load_model(str(folders[family]), dtype="float32", **settings)

    return get


def engine(decoder, shape, *, blocks=200, depth=0, caching=False, fault=None, slots=8):
    spec = ExecutorSpec(
        slots=slots,
        blocks=blocks,
        page_size=8,
        max_model_len=160,
        vocab_size=decoder.spec.vocab_size,
        pipeline_depth=depth,
        layers=len(decoder.spec.blocks),
    )
    executor = InlineExecutor(decoder, decoder.new_kv(blocks, 8), spec, fault=fault, defer=bool(depth))
    schedule = ScheduleConfig(
        max_num_seqs=slots, max_num_batched_tokens=256, shape=shape, order="fcfs", preempt="newest"
    )
    return build_engine(executor, schedule, CacheConfig(enable_prefix_caching=caching))


def requests(seed=1, count=7, new=NEW, **fields):
    rng = random.Random(seed)
    shared = [rng.randrange(3, VOCAB) for _ in range(24)]
    made = []
    for n in range(count):
        own = [rng.randrange(3, VOCAB) for _ in range(rng.randrange(1, 90))]
        prompt = shared + own if n % 3 == 0 else own
        made.append(
            make_request(f"r{n}", prompt, max_tokens=new + n, temperature=0.0, ignore_eos=True, **fields)
        )
    return made


def run(decoder, shape, at_a_time=2, asked=None, **variant):
    harness = Harness(decoder, page_size=8)
    return harness.run(asked or requests(), engine=engine(decoder, shape, **variant), at_a_time=at_a_time)


VARIANTS = {
    "plain": {},
    "overlapped": {"depth": 1},
    "prefix hits": {"caching": True, "at_a_time": 1},
    "preemption": {"blocks": 26, "at_a_time": 0},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_layered_equals_unlayered(load, family, variant):
    decoder = load(family)
    asked = requests(new=40) if variant == "preemption" else requests()
    want = run(decoder, "chunked", asked=asked)
    got = run(decoder, "layered(3, 128, 8)", asked=asked, **VARIANTS[variant])
    assert got.tokens == want.tokens
    assert max((got.logits[k] - want.logits[k]).abs().max().item() for k in want.logits) <= 1e-4
    if variant == "preemption":
        assert got.engine.stats().preemptions > 0
    if variant == "prefix hits":
        assert got.engine.stats().prefix_hit_tokens > 0


@pytest.mark.parametrize("family", ["llama", "qwen3-moe"])
def test_layered_equals_unlayered_to_the_bit_in_batch_invariant_mode(load, family):
    decoder = load(family, batch_invariant=True)
    want, got = run(decoder, "chunked(40)"), run(decoder, "layered(2, 128, 8)")
    assert all(torch.equal(got.logits[k], want.logits[k]) for k in want.logits)


class CountedExperts:
    """Passes operations on and notes how many rows and experts each mixture layer call had."""

    def __init__(self, ops):
        self.ops, self.loads, self.rows = ops, 0, 0

    def __getattr__(self, name):
        return getattr(self.ops, name)

    def experts(self, x_NE, weights_NK, ids_NK, *rest):
        self.loads += len(ids_NK.unique())
        self.rows += len(x_NE)
        return self.ops.experts(x_NE, weights_NK, ids_NK, *rest)


def test_a_mixture_reads_fewer_experts_and_computes_each_row_once_per_layer(load):
    decoder = load("mixtral")
    rng = random.Random(4)
    decode = make_request("d", [5, 6, 7], max_tokens=40, temperature=0.0, ignore_eos=True)
    long = [rng.randrange(3, VOCAB) for _ in range(120)]
    prompt = make_request("long", long, max_tokens=1, temperature=0.0, ignore_eos=True)
    counts = {}
    for shape in ("chunked(31)", "layered(2, 128, 60)"):
        plain, decoder.ops = decoder.ops, CountedExperts(decoder.ops)
        done = run(decoder, shape, at_a_time=1, asked=[decode, prompt])
        counts[shape], decoder.ops = decoder.ops, plain
        assert done.engine.stats().finished["length"] == 2
    layers = sum(hasattr(block.mlp, "top_k") for block in decoder.spec.blocks)
    assert {c.rows for c in counts.values()} == {layers * (3 + 39 + 120)}
    assert counts["layered(2, 128, 60)"].loads < counts["chunked(31)"].loads


def test_prompt_scores_come_with_the_last_group_and_are_right(load):
    decoder = load("llama")
    asked = requests(count=3, prompt_logprobs=1)
    scores = []
    for shape in ("chunked", "layered(3, 128, 8)"):
        done = run(decoder, shape, asked=asked)
        scores.append(
            [s.logprob for r in asked for out in done.outputs[r.id] for s in out.prompt_logprobs or ()]
        )
    assert len(scores[0]) == sum(len(r.prompt_ids) - 1 for r in asked)
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


def test_a_failed_step_restarts_the_cohort_without_a_trace(load):
    decoder = load("llama")
    want = run(decoder, "chunked")
    calls = []

    def flaky(plan):
        if plan.shape.cohort_tokens and plan.items[-1].layers[0] > 0:
            calls.append(plan.ticket)
            if len(calls) in (1, 4):
                raise RuntimeError("a flaky device")

    got = run(decoder, "layered(3, 128, 8)", fault=flaky)
    assert len(calls) > 4 and got.tokens == want.tokens


def test_a_member_that_fails_alone_takes_nobody_along(load):
    decoder = load("llama")
    want = run(decoder, "chunked")
    got = run(decoder, "layered(3, 128, 8)", fault=FailFor("r2"))
    assert {k: v for k, v in got.tokens.items() if k != "r2"} == {
        k: v for k, v in want.tokens.items() if k != "r2"
    }
    assert got.outputs["r2"][-1].finish.reason == "error"


def test_a_group_of_layers_cannot_be_skipped(load):
    decoder = load("llama")
    executor = engine(decoder, "chunked").executor
    layers = len(decoder.spec.blocks)
    shape = PlanShape(3, 1, 0, 3, 0, 6, 0, 0, 0, 3, 1)
    init = SlotInit(0, "a", (5, 6, 7), 3, SamplingParams(), ())
    executor.submit(StepPlan(1, (init,), (WorkItem(0, 0, 3, 0, (1,), False, (1, layers)),), (), shape))
    with pytest.raises(StepFault, match="layers before 1 were not passed"):
        executor.collect(1)


def test_an_executor_without_layers_is_refused_by_name(load):
    decoder = load("llama")
    spec = ExecutorSpec(slots=2, blocks=40, page_size=8, max_model_len=160, vocab_size=VOCAB)
    executor = InlineExecutor(decoder, decoder.new_kv(40, 8), spec)
    with pytest.raises(ConfigError, match="layered prefill needs"):
        build_engine(executor, ScheduleConfig(shape="layered"))
