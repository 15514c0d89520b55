"""Logits of every family equal transformers' own forward, whatever the chunking and the batch."""

import pytest
import torch

from tests.models.families import FAMILIES, LONG_ONLY, VOCAB
from tests.models.paged import Paged

BOUND = 1e-4
LENGTH = 96
"""Longer than every window, than a chunk of 64, and than the short rope of the family that has one."""


def _text(length, seed=0):
    return torch.randint(3, VOCAB, (length,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_chunked(tiny, family):
    model, text = tiny(family), _text(LENGTH)
    want = model.logits(text)
    assert want.std() > 0.5, "flat logits would prove nothing"
    for chunk in (7, 64, None):
        got = Paged(model.decoder, [text]).run(0, chunk)
        assert (got - want).abs().max() <= BOUND, f"chunk {chunk}"


@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_batch(tiny, family):
    """Prefill chunks of several sizes and single-row decodes of many lengths in the same steps."""
    model = tiny(family)
    least = LONG_ONLY.get(family, 0)
    texts = [_text(least + length, length) for length in (40, 1, 26, 30, 33)]
    got = Paged(model.decoder, texts, page_size=16).run_mixed([7, 1, 1, least + 64, 13])
    for text, logits in zip(texts, got, strict=True):
        assert (logits - model.logits(text)).abs().max() <= BOUND


def test_softcap_window_and_scale_matter(tiny):
    """The tiny configs are such that dropping a feature shows far above the bound."""
    import dataclasses

    from penstock.kernels.layer_spec import Mask

    model, text = tiny("gemma2"), _text(LENGTH)
    want = model.logits(text)
    for change in ({"softcap": None}, {"mask": Mask()}, {"scale": 20**-0.5}):
        spec = model.decoder.spec
        blocks = tuple(
            dataclasses.replace(b, attention=dataclasses.replace(b.attention, **change)) for b in spec.blocks
        )
        model.decoder.spec = dataclasses.replace(spec, blocks=blocks)
        try:
            got = Paged(model.decoder, [text]).run(0)
        finally:
            model.decoder.spec = spec
        assert (got - want).abs().max() > 100 * BOUND, change
