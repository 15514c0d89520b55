"""Batch-invariant mode: the bits of a row depend on its sequence only; and it still equals transformers."""

import pytest
import torch

from penstock.models.load import load_model
from tests.models.families import VOCAB
from tests.models.paged import Paged

FAMILIES = ["llama", "gemma2", "opt-post", "gpt-neox", "qwen2-moe"]


def _texts():
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, VOCAB, (n,), generator=generator) for n in (140, 90, 17, 16, 1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_bits_do_not_depend_on_batch_or_chunks(tiny, kernels, family):
    model = tiny(family)
    decoder = load_model(str(model.folder), kernels=kernels, batch_invariant=True)
    texts = _texts()
    alone = [Paged(decoder, [text], page_size=16, seed=i).run(0) for i, text in enumerate(texts)]
    for text, logits in zip(texts, alone, strict=True):
        assert (logits - model.logits(text)).abs().max() <= 1e-4
    for seed, chunks in enumerate(([7] * 5, [64, 1, 5, 16, 1], [140, 33, 17, 2, 1])):
        together = Paged(decoder, texts, page_size=16, seed=seed + 10).run_mixed(chunks)
        for want, got in zip(alone, together, strict=True):
            assert torch.equal(want, got)


def test_int8_stays_invariant(tiny, kernels):
    decoder = load_model(
        str(tiny("llama").folder), kernels=kernels, batch_invariant=True, kv_cache_dtype="int8"
    )
    texts = _texts()[:3]
    alone = [Paged(decoder, [text]).run(0) for text in texts]
    together = Paged(decoder, texts, seed=4).run_mixed([7, 64, 1])
    assert all(torch.equal(want, got) for want, got in zip(alone, together, strict=True))


def test_order_of_sequences_does_not_matter(tiny, kernels):
    decoder = load_model(str(tiny("qwen3-moe").folder), kernels=kernels, batch_invariant=True)
    texts = _texts()
    first = Paged(decoder, texts).run_mixed([13] * 5)
    second = Paged(decoder, texts[::-1]).run_mixed([13] * 5)[::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
