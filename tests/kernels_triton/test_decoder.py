"""Whole decoders on the Triton backend against the torch backend, eagerly and through the graph runner."""

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("triton")

from penstock.models.load import load_model
from penstock.runtime.graphs import GraphRunner
from tests.models.families import VOCAB, make_model
from tests.models.paged import Paged


def texts(*lengths):
    gen = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCAB, (n,), generator=gen) for n in lengths]


def record(run):
    """Stands in for a CUDA graph: runs the recorded function again, into the same result."""
    out = run().clone()

    def replay():
        out.copy_(run())

    return replay, out


@pytest.mark.parametrize("family", ["llama", "qwen2-window", "gemma2"])
def test_logits_equal_the_torch_backend(family, tmp_path):
    make_model(family, tmp_path)
    logits = []
    for attention in ("torch", "triton"):
        decoder = load_model(str(tmp_path), dtype="float32", attention=attention)
        paged = Paged(decoder, texts(19, 30, 6))
        logits.append(torch.cat(paged.run_mixed([7, 30, 1])))
    assert (logits[0] - logits[1]).abs().max() <= 1e-4


@pytest.mark.parametrize("codec", ["auto", "int8"])
def test_replayed_decode_steps_equal_eager_ones(codec, tmp_path):
    make_model("llama", tmp_path)
    results = []
    for graphs in (False, True):
        decoder = load_model(str(tmp_path), dtype="float32", attention="triton", kv_cache_dtype=codec)
        paged = Paged(decoder, texts(14, 20, 9))
        if graphs:
            runner = GraphRunner(decoder, paged.kv, buckets=(2, 4), capture=record)
            paged.decoder = SimpleNamespace(forward=runner, logits=decoder.logits)
        out = [paged.step([(0, 10), (1, 13), (2, 1)])]
        out += [paged.step([(s, 1) for s in members]) for members in ((0, 1, 2), (1,), (0, 1, 2), (2, 0))]
        results.append(torch.cat([part[s] for part in out for s in sorted(part)]))
    assert runner.captured == (2, 4)
    assert (results[0] - results[1]).abs().max() <= 1e-5
