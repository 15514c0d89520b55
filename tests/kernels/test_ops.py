"""Dense operations: against the definition, and bit for bit against themselves in other company."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.kernels import invariant_ops
from penstock.kernels.invariant_ops import InvariantOps
from penstock.kernels.ops import ACTIVATIONS, TorchOps, activation

torch.set_num_threads(1)
PLAIN, INVARIANT = TorchOps(), InvariantOps()


def _calls(ops, width):
    """One-argument forms of every row operation at a width."""
    torch.manual_seed(width)
    weight, bias = torch.randn(7, width) / width**0.5, torch.randn(7)
    scale = torch.randn(width)
    gate_up, down = torch.randn(4, 10, width) / width**0.5, torch.randn(4, width, 5)

    def mixture(x):
        weights, ids = ops.route(F.linear(x.double(), router.double()).float(), 2, True)
        return ops.experts(x, weights, ids, gate_up, down, "silu")

    router = torch.randn(4, width)
    return {
        "linear": lambda x: ops.linear(x, weight, bias),
        "rms": lambda x: ops.rms_norm(x, scale, 1e-6),
        "rms-offset": lambda x: ops.rms_norm(x, scale, 1e-6, 1.0),
        "rms-heads": lambda x: ops.rms_norm(x.unflatten(1, (1, width)), scale, 1e-6).flatten(1),
        "layer": lambda x: ops.layer_norm(x, scale, scale, 1e-5),
        "silu": lambda x: ops.activate("silu", x),
        "gelu": lambda x: ops.activate("gelu_pytorch_tanh", x),
        "softcap": lambda x: ops.softcap(x, 3.0),
        "route": lambda x: ops.route(x, min(2, width), True)[0],
        "experts": mixture,
    }


@pytest.mark.parametrize("width", [1, 5, 31, 64, 100])
def test_invariant_equals_plain(width):
    for count in (0, 1, 15, 16, 17, 50):
        x = torch.randn(count, width)
        for (name, plain), invariant in zip(
            _calls(PLAIN, width).items(), _calls(INVARIANT, width).values(), strict=True
        ):
            torch.testing.assert_close(invariant(x), plain(x), atol=2e-5, rtol=2e-5, msg=f"{name} {count}")


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([3, 16, 33, 60]),
    st.integers(1, 70),
    st.integers(0, 2**31),
    st.sampled_from([1, 2, 3]),
)
def test_a_row_does_not_see_its_company(width, count, seed, threads):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=generator) * 3
    order = torch.randperm(count, generator=generator)
    row = int(order[0])
    torch.set_num_threads(threads)
    try:
        for name, call in _calls(INVARIANT, width).items():
            together = call(x)
            assert torch.equal(call(x[order]), together[order]), name
            assert torch.equal(call(x[row : row + 1])[0], together[row]), name
    finally:
        torch.set_num_threads(1)


def test_check_refuses_a_blas_that_minds_the_place(monkeypatch):
    InvariantOps().check(torch.randn(9, 12))

    def biased(x, weight, bias=None):
        return x @ weight.T + torch.arange(len(x))[:, None]

    monkeypatch.setattr(invariant_ops.F, "linear", biased)
    with pytest.raises(ConfigError, match=r"model\.batch_invariant"):
        InvariantOps().check(torch.randn(9, 12))


def test_rms_norm_offset_and_rotation():
    x = torch.randn(4, 6)
    weight = torch.randn(6)
    want = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + weight)
    torch.testing.assert_close(PLAIN.rms_norm(x, weight, 1e-6, 1.0), want)

    heads = torch.randn(3, 2, 10)
    angle = torch.rand(3, 3)
    turned = PLAIN.rotate(heads, angle.cos(), angle.sin())
    pair = torch.view_as_complex(torch.stack((heads[..., :3], heads[..., 3:6]), -1))
    spun = pair * torch.polar(torch.ones(3, 1, 3), angle[:, None])
    torch.testing.assert_close(turned[..., :6], torch.cat((spun.real, spun.imag), -1))
    assert torch.equal(turned[..., 6:], heads[..., 6:])


def test_experts_by_the_definition():
    torch.manual_seed(0)
    x, gate_up, down = torch.randn(9, 6), torch.randn(5, 8, 6), torch.randn(5, 6, 4)
    logits = torch.randn(9, 5)
    for renormalise in (False, True):
        weights, ids = PLAIN.route(logits, 3, renormalise)
        want = torch.zeros(9, 6)
        for n in range(9):
            probs = logits[n].softmax(0)
            best = probs.argsort(descending=True)[:3]
            share = probs[best] / (probs[best].sum() if renormalise else 1.0)
            for weight, expert in zip(share, best, strict=True):
                gate, up = (gate_up[expert] @ x[n]).chunk(2)
                want[n] += weight * (down[expert] @ (F.silu(gate) * up))
        for ops in (PLAIN, INVARIANT):
            got = ops.experts(x, weights, ids, gate_up, down, "silu")
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_activations_by_name():
    x = torch.linspace(-3, 3, 13)
    for name in ACTIVATIONS:
        assert activation(name, x).shape == x.shape
    with pytest.raises(ValueError, match="unknown activation 'mish'"):
        activation("mish", x)
