"""Losses and attention against the plain formulas."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from penstock.zoo import attention
from penstock.zoo.export import build_model
from penstock.zoo.loss import counted, divergences, hidden_states, imbalance, token_losses, weighted_mean
from penstock.zoo.packing import pack
from penstock.zoo.recipes import Shape

torch.set_num_threads(1)


def test_attention_of_documents_equals_attention_with_a_mask() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(h, 50, 16, requires_grad=True) for h in (4, 2, 2))
    out = attention.document_attention(q, k, v, torch.tensor([0, 10, 37, 50, 50]), 0.25)
    document = torch.tensor([0] * 10 + [1] * 27 + [2] * 13)
    seen = (document[:, None] == document[None]) & torch.ones(50, 50, dtype=torch.bool).tril()
    keys, values = (x.repeat_interleave(2, 0)[None] for x in (k, v))
    want = F.scaled_dot_product_attention(q[None], keys, values, attn_mask=seen, scale=0.25)[0].transpose(
        0, 1
    )
    assert torch.allclose(out, want, atol=1e-5)
    grad = torch.randn_like(out)
    mine = torch.autograd.grad(out, (q, k, v), grad)
    theirs = torch.autograd.grad(want, (q, k, v), grad)
    for one, two in zip(mine, theirs, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("experts", [0, 4])
def test_packed_documents_get_the_states_that_they_get_alone(experts: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    attention.register()
    model = build_model(Shape(32, 2, 2, 1, 16, 64, 64, 128, experts))
    model.set_attn_implementation(attention.NAME)
    documents = [([1, *range(5, 25)], [1.0] * 21), ([1, *range(30, 50)], [1.0] * 21)]
    both, alone = pack(documents, 42), pack(documents[1:], 21)
    states, want = (hidden_states(model, b.ids_N, b.position_N, b.starts_D) for b in (both, alone))
    assert torch.allclose(states[21:], want, atol=1e-5)


def test_the_loss_is_the_weighted_mean_over_what_counts() -> None:
    batch = pack([([1, 5, 6, 7], [0.0, 0.0, 1.0, 3.0])], 6)
    at = counted(batch)
    assert at.tolist() == [1, 2]
    logits = torch.randn(2, 16)
    losses = token_losses(logits, batch, at)
    each = [-F.log_softmax(logits, -1)[0, 6], -F.log_softmax(logits, -1)[1, 7]]
    assert torch.allclose(losses, torch.stack(each))
    assert float(weighted_mean(losses, batch, at)) == pytest.approx(float((each[0] + 3 * each[1]) / 4))


def test_the_divergence_is_zero_between_equals_and_positive_otherwise() -> None:
    one, two = torch.randn(3, 8), torch.randn(3, 8)
    assert torch.allclose(divergences(one, one + 2.0), torch.zeros(3), atol=1e-6)
    assert (divergences(one, two) > 0).all()


def test_balance_is_one_when_even_and_more_when_not() -> None:
    even = torch.eye(4).repeat(4, 1) + torch.eye(4).roll(1, 0).repeat(4, 1)
    assert float(imbalance([even, even], 2)) == pytest.approx(1.0, abs=1e-5)
    crowded = torch.tensor([[9.0, 8.0, 0.0, 0.0]]).repeat(16, 1)
    assert float(imbalance([crowded], 2)) > 1.5
