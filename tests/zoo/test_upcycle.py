"""A mixture made from a dense model: the rest is its own, and two experts are nearly its layer."""

from pathlib import Path

import pytest
import torch

from penstock.zoo.export import build_model
from penstock.zoo.recipes import Shape
from penstock.zoo.upcycle import neurons_of_experts

DENSE = Shape(32, 2, 2, 1, 16, 64, 64, 128)


def test_experts_of_different_halves_hold_the_important_neurons() -> None:
    importance = torch.arange(64.0).flip(0)
    chosen = neurons_of_experts(importance, 4, 16)
    assert all(len(set(neurons.tolist())) == 16 for neurons in chosen)
    assert {*chosen[0].tolist(), *chosen[3].tolist()} >= set(range(24))
    assert chosen[0][:12].tolist() == chosen[1][:12].tolist() == list(range(0, 24, 2))


def test_a_mixture_starts_near_its_dense_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense = build_model(DENSE)
    dense.save_pretrained(tmp_path)
    moe = build_model(Shape(32, 2, 2, 1, 16, 32, 64, 128, experts=4), tmp_path)
    assert moe.config.model_type == "mixtral"
    name = "model.layers.1.self_attn.k_proj.weight"
    assert torch.equal(moe.state_dict()[name], dense.state_dict()[name])
    assert moe.lm_head.weight.data_ptr() == moe.model.embed_tokens.weight.data_ptr()
    assert torch.equal(moe.lm_head.weight, dense.lm_head.weight)
    ids = torch.arange(1, 20)[None]
    with torch.no_grad():
        near = (moe(ids).logits - dense(ids).logits).norm()
        fresh = build_model(Shape(32, 2, 2, 1, 16, 32, 64, 128, experts=4))
        far = (fresh(ids).logits - dense(ids).logits).norm()
    assert near < 0.3 * far


def test_a_dense_model_of_other_dimensions_is_refused(tmp_path: Path) -> None:
    build_model(DENSE).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="hidden_size is 32"):
        build_model(Shape(64, 2, 2, 1, 16, 16, 64, 128, experts=4), tmp_path)
    with pytest.raises(ValueError, match="need 80"):
        build_model(Shape(32, 2, 2, 1, 16, 40, 64, 128, experts=4), tmp_path)
