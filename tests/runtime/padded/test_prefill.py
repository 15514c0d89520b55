"""Padded, ordered and prepacked prefill give each prompt the logits it has alone, and leak nothing."""

import random

import pytest
import torch

from penstock.core.errors import ConfigError
from penstock.models.load import load_model
from penstock.runtime.padded.prefill import PaddedPrefill
from tests.models.families import VOCAB, make_model

FAMILIES = ["llama", "mistral", "gemma2", "opt", "gpt-neox", "qwen3-moe"]
LENGTHS = (1, 40, 7, 23, 12, 2, 1, 33, 5)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    return make_model(request.param, folder), load_model(str(folder), dtype="float32")


def prompts(seed=3):
    rng = random.Random(seed)
    return [[rng.randrange(3, VOCAB) for _ in range(length)] for length in LENGTHS]


@torch.inference_mode()
def test_logits_equal_one_by_one_and_transformers(model):
    oracle, decoder = model
    run, texts = PaddedPrefill(decoder), prompts()
    alone_PV = torch.cat([run.padded([text]).logits_PV for text in texts])
    theirs_PV = torch.stack([oracle(torch.tensor([text])).logits[0, -1].float() for text in texts])
    assert (alone_PV - theirs_PV).abs().max() <= 1e-4
    for result in (run.padded(texts), run.ordered(texts, 3), run.packed(texts)):
        assert (result.logits_PV - alone_PV).abs().max() <= 1e-5


def test_a_prompt_cannot_see_its_neighbours_in_the_bin(model):
    run, texts = PaddedPrefill(model[1]), prompts()
    before_PV = run.packed(texts).logits_PV
    for changed in (1, 3, 8):
        others = prompts(seed=9)
        mixed = [others[n] if n == changed else text for n, text in enumerate(texts)]
        after_PV = run.packed(mixed).logits_PV
        same = [n for n in range(len(texts)) if n != changed]
        if any(hasattr(block.mlp, "top_k") for block in model[1].spec.blocks):
            # An expert's GEMM has as many rows as chose it, and their number may change the last bits.
            torch.testing.assert_close(after_PV[same], before_PV[same], atol=1e-6, rtol=1e-6)
        else:
            assert torch.equal(after_PV[same], before_PV[same])
        assert not torch.equal(after_PV[changed], before_PV[changed])


def test_packing_computes_fewer_rows(model):
    run, texts = PaddedPrefill(model[1]), prompts()
    padded, ordered, packed = run.padded(texts), run.ordered(texts, 3), run.packed(texts)
    assert padded.rows == len(LENGTHS) * max(LENGTHS)
    # Bodies of 39+32+22+11+6+4+1 tokens fill three rows of 39; the last tokens come on top.
    assert packed.rows == 3 * 39 + len(LENGTHS) < ordered.rows < padded.rows


def test_single_tokens_alone(model):
    run = PaddedPrefill(model[1])
    texts = [[5], [7]]
    alone_PV = torch.cat([run.padded([text]).logits_PV for text in texts])
    torch.testing.assert_close(run.packed(texts).logits_PV, alone_PV, atol=1e-5, rtol=0)


def test_batch_invariant_decoders_are_refused(tmp_path):
    make_model("llama", tmp_path)
    with pytest.raises(ConfigError, match="no batch-invariant mode"):
        PaddedPrefill(load_model(str(tmp_path), batch_invariant=True))
