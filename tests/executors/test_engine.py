"""The real engine on the real executor: what the scheduler does to a request never shows in its tokens."""

import random

import pytest
import torch

from penstock.core.output import FinishReason
from penstock.core.request import RequestSpec, SamplingParams
from penstock.engine.core import build_engine
from penstock.executors.faults import FailFor
from penstock.executors.inline import build_executor
from tests.executors.tiny import CONTEXT, PAGE, VOCAB, config_for

BLOCK_BYTES = 2 * 2 * 2 * 8 * 4 * PAGE  # K and V of 2 layers, 2 heads of 8 float32
RICH = {"temperature": 1.0, "top_p": 0.9, "repetition_penalty": 1.1}
TIGHT = {"kv_cache_memory_bytes": BLOCK_BYTES * (CONTEXT // PAGE + 1)}
STEM = tuple(random.Random(99).randrange(3, VOCAB) for _ in range(20))


def requests(count=12, **sampling):
    rng = random.Random(7)
    made = []
    for n in range(count):
        own = tuple(rng.randrange(3, VOCAB) for _ in range(rng.randrange(1, 40)))
        prompt = STEM + own if n % 3 == 0 else own
        params = {"temperature": 0.0, "max_tokens": rng.randrange(1, 30), "seed": n, **sampling}
        made.append(RequestSpec(id=f"r{n}", prompt_ids=prompt, sampling=SamplingParams(**params)))
    return made


def serve(llama, specs, fault=None, late=0, **config):
    """Tokens and finish of every request; ``late`` of them arrive while others run."""
    config = config_for(llama[0], **config)
    core = build_engine(build_executor(config, fault=fault), config.schedule, config.cache)
    tokens, finishes = {spec.id: [] for spec in specs}, {}
    waiting = list(specs)
    for _ in range(len(specs) - late):
        core.submit(waiting.pop(0))
    while waiting or core.has_work():
        if waiting:
            core.submit(waiting.pop(0))
        for out in core.tick():
            tokens[out.request_id] += out.tokens
            if out.finish is not None:
                assert out.request_id not in finishes
                finishes[out.request_id] = out.finish
    return tokens, finishes, core.stats()


@pytest.fixture(scope="module")
def expected(llama):
    """Greedy tokens by transformers."""
    found = {}
    for spec in requests():
        ids = torch.tensor([spec.prompt_ids])
        out = llama[1].generate(
            ids, do_sample=False, max_new_tokens=spec.sampling.max_tokens, eos_token_id=None, pad_token_id=0
        )
        found[spec.id] = out[0, ids.shape[1] :].tolist()
    return found


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("budget", [7, 64, 2048])
def test_greedy_equals_transformers(llama, expected, depth, budget):
    tokens, finishes, stats = serve(
        llama, requests(), late=5, pipeline_depth=depth, max_num_batched_tokens=budget
    )
    assert tokens == expected
    assert {f.reason for f in finishes.values()} == {FinishReason.LENGTH}
    assert stats.prefix_hit_tokens > 0


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("sampling", [{}, RICH], ids=str)
def test_preemption_changes_nothing(llama, depth, sampling):
    specs = requests(**sampling)
    calm, _, stats = serve(llama, specs, pipeline_depth=depth)
    assert stats.preemptions == 0
    pressed, _, stats = serve(llama, specs, pipeline_depth=depth, cache=TIGHT)
    assert stats.preemptions > 0
    assert pressed == calm


@pytest.mark.parametrize("depth", [0, 1])
def test_a_poisoned_request_errors_alone(llama, expected, depth):
    tokens, finishes, _ = serve(llama, requests(), fault=FailFor("r4"), pipeline_depth=depth)
    assert finishes["r4"].reason is FinishReason.ERROR
    assert "poisoned" in finishes["r4"].detail
    for name, finish in finishes.items():
        if name != "r4":
            assert finish.reason is FinishReason.LENGTH
            assert tokens[name] == expected[name]


def test_a_passing_fault_leaves_no_trace(llama, expected):
    tokens, finishes, _ = serve(llama, requests(), fault=FailFor("r4", times=1))
    assert tokens == expected
    assert {f.reason for f in finishes.values()} == {FinishReason.LENGTH}


def test_a_bad_token_id_errors_alone(llama, expected):
    specs = requests()
    specs[2] = RequestSpec(id="r2", prompt_ids=(5, VOCAB + 3), sampling=specs[2].sampling)
    tokens, finishes, _ = serve(llama, specs)
    assert finishes["r2"].reason is FinishReason.ERROR
    assert f"token id {VOCAB + 3}" in finishes["r2"].detail
    assert all(tokens[name] == want for name, want in expected.items() if name != "r2")


def test_eos_and_min_tokens(llama, expected):
    """With the first greedy token as eos a request stops at once, unless min_tokens forbids it."""
    spec = next(s for s in requests() if s.sampling.max_tokens > 8)
    eos = expected[spec.id][0]
    for least in (0, 5):
        sampling = SamplingParams(temperature=0.0, max_tokens=20, min_tokens=least)
        request = RequestSpec(id="r", prompt_ids=spec.prompt_ids, sampling=sampling, eos_ids=(eos,))
        tokens, finishes, _ = serve(llama, [request])
        assert eos not in tokens["r"][:-1]
        assert len(tokens["r"]) > least
        if not least:
            assert tokens["r"] == [eos]
            assert finishes["r"].reason is FinishReason.STOP


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0}, RICH], ids=str)
def test_batch_invariant_outputs_do_not_depend_on_company_or_scheduling(llama, sampling):
    exact = {"model": {"batch_invariant": True}}
    specs = requests(**sampling)
    together, _, _ = serve(llama, specs, **exact)
    for n in (0, 5, 9):
        alone, _, _ = serve(llama, [specs[n]], **exact)
        assert alone[f"r{n}"] == together[f"r{n}"]
    uncached = {"cache": {"enable_prefix_caching": False}}
    for company in (
        {"max_num_batched_tokens": 9},
        {"max_num_batched_tokens": 64, **uncached},
        {"cache": TIGHT, "pipeline_depth": 1},
        {"max_num_seqs": 3, "late": 6},
    ):
        tokens, _, _ = serve(llama, specs, **{**exact, **company})
        assert tokens == together
