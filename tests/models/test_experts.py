"""A tiny Mixtral whose experts run as one call of the CPU kernels, in every type that a model may have."""

import pytest
import torch

from penstock.kernels.native import ops as native_ops
from penstock.kernels.native.experts import Experts
from penstock.kernels.native.library import why_missing
from penstock.models.load import load_model
from tests.models.families import VOCAB
from tests.models.paged import Paged

TEXT = torch.randint(3, VOCAB, (70,), generator=torch.Generator().manual_seed(8))
KINDS = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"dtype": "float32", "quantization": "int8"},
    "int4": {"dtype": "float32", "quantization": "int4"},
    "int8-bfloat16": {"dtype": "bfloat16", "quantization": "int8"},
    "int4-bfloat16": {"dtype": "bfloat16", "quantization": "int4"},
}


@pytest.fixture(scope="session")
def kernels():
    """Of the models that the tests compare with; not each test twice."""
    return "torch"


@pytest.fixture(params=list(KINDS))
def kind(request):
    if reason := why_missing():
        pytest.skip(reason)
    return request.param


@pytest.fixture
def no_other_way(monkeypatch):
    """Experts one by one are an error."""

    def refuse(*_):
        raise AssertionError("the experts were called one by one")

    monkeypatch.setattr(native_ops, "experts_one_by_one", refuse)


def _off(got, want):
    """Mean distance of logits, in units of their spread."""
    return float((got.float() - want.float()).abs().mean() / want.float().std())


@pytest.mark.parametrize("family", ["mixtral", "qwen2-moe"])
def test_as_near_to_the_truth_as_torch(tiny, kind, family, no_other_way):
    """Against transformers in float32: no further off than torch is with the same weights."""
    model = tiny(family)
    folder, want = str(model.folder), model.logits(TEXT)
    own = load_model(folder, kernels="native", **KINDS[kind])
    plain = load_model(folder, kernels="torch", **KINDS[kind])
    got, same = Paged(own, [TEXT]).run(0), Paged(plain, [TEXT]).run(0)
    assert _off(got, want) <= 1.3 * _off(same, want) + (0.02 if "int" in kind else 1e-5)
    assert _off(got, same) <= {"float32": 1e-5, "bfloat16": 0.03}.get(kind, 0.06)


def test_decoding_in_a_mixed_batch_gives_the_bits_of_each_text_alone(tiny, kind, no_other_way):
    decoder = load_model(str(tiny("mixtral").folder), kernels="native", batch_invariant=True, **KINDS[kind])
    texts = [TEXT[: 30 + 9 * i] for i in range(4)]
    alone = [Paged(decoder, [text], seed=i).run(0) for i, text in enumerate(texts)]
    together = Paged(decoder, texts, seed=9).run_mixed([1, 7, 64, 13])
    assert all(torch.equal(want, got) for want, got in zip(alone, together, strict=True))


def test_the_loader_bundles_the_experts(tiny, kind):
    """And the bundles weigh what their matrices do."""
    decoder = load_model(str(tiny("mixtral").folder), kernels="native", **KINDS[kind])
    for block in decoder._params.blocks:
        assert isinstance(block.experts_up, Experts) and isinstance(block.experts_down, Experts)
        assert len(block.experts_up) == len(block.experts_down) == 5
    held = sum(w.nbytes for b in decoder._params.blocks for w in (*b.experts_up, *b.experts_down))
    assert 0 < held < decoder.weight_bytes()
