"""A whole model over the int8 codec: near the raw one, and far from what arbitrary KV would give."""

import pytest
import torch

from penstock.models.load import load_model
from tests.models.families import VOCAB
from tests.models.paged import Paged


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt", "mixtral"])
def test_int8_is_near_raw(tiny, family):
    model = tiny(family)
    text = torch.randint(3, VOCAB, (80,), generator=torch.Generator().manual_seed(1))
    raw = model.logits(text)
    decoder = load_model(str(model.folder), kv_cache_dtype="int8")
    assert decoder.kv_bytes_per_block(8) < model.decoder.kv_bytes_per_block(8) / 2
    assert decoder.fingerprint != model.decoder.fingerprint

    int8 = Paged(decoder, [text]).run(0)
    error = (int8 - raw).abs().mean() / raw.std()
    assert error < 0.05
    # Chunks read what a whole prefill reads (write-through).
    chunked = Paged(decoder, [text]).run(0, 7)
    assert (chunked - int8).abs().mean() / raw.std() < error / 2

    paged = Paged(decoder, [text])
    paged.step([(0, 60)])
    for layer in decoder.stack.layers:
        for plane in paged.kv.layer(layer.index).planes.values():
            if plane.dtype == torch.int8:
                plane.random_(-127, 128)
    arbitrary = paged.run(0)
    assert (arbitrary - raw[60:]).abs().mean() / raw.std() > 5 * error
