"""Batch-invariant mode: what a request gets never depends on its company, nor on how it was cut or cached."""

from __future__ import annotations

import random

import pytest
import torch

from penstock.models.load import load_model
from penstock.testing.builders import make_request
from tests.e2e.harness import Harness
from tests.models.families import VOCAB, make_model

FAMILIES = ["llama", "gemma2", "mixtral"]
COMPANY = 64
VARIANTS = {
    "among others": {"caching": False},
    "prefix cache": {"chunk": 64, "at_a_time": 5},
    "preemption": {"chunk": 64, "blocks": 60},
    "chunks of 7": {"chunk": 7, "at_a_time": 9},
    "overlap": {"chunk": 64, "depth": 1, "at_a_time": 7},
}


def requests(temperature):
    rng = random.Random(11)
    shared = [rng.randrange(3, VOCAB) for _ in range(24)]
    made = []
    for n in range(COMPANY + 1):
        own = [rng.randrange(3, VOCAB) for _ in range(rng.randrange(2, 40))]
        made.append(
            make_request(
                f"r{n}",
                shared + own if n % 2 else own,
                max_tokens=24,
                temperature=temperature,
                seed=n,
                top_p=0.95 if n % 3 else 1.0,
            )
        )
    return made


@pytest.fixture(scope="module", params=FAMILIES)
def harness(request, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    make_model(request.param, folder)
    return Harness(load_model(str(folder), dtype="float32", batch_invariant=True), max_len=96)


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["greedy", "sampled"])
def alone(request, harness):
    """Every fourth request, each in an engine of its own."""
    asked = requests(request.param)
    runs = {r.id: harness.run([r], slots=4, blocks=24) for r in asked[::4]}
    return asked, runs


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_bits_in_any_company(harness, alone, variant):
    asked, runs = alone
    together = harness.run(asked, **VARIANTS[variant])
    for name, run in runs.items():
        assert together.tokens[name] == run.tokens[name]
        for position, logits_V in run.logits.items():
            assert torch.equal(together.logits[position], logits_V), f"{name} at {position[1]}"
    if variant == "preemption":
        assert together.engine.stats().preemptions > 5
    if variant == "prefix cache":
        assert together.engine.stats().prefix_hit_tokens > 100


def test_sampled_texts_differ_between_seeds(harness):
    twins = [make_request(f"t{n}", [5, 6, 7], max_tokens=24, temperature=1.0, seed=n) for n in range(2)]
    run = harness.run(twins)
    assert run.tokens["t0"] != run.tokens["t1"]
