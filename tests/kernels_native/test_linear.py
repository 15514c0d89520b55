"""The matrix product against float64, for every format, odd sizes and all epilogues."""

import pytest
import torch
import torch.nn.functional as F

from penstock.kernels.codes import STEP, Codes
from penstock.kernels.native.ops import NativeOps
from penstock.kernels.native.packed import Packed
from penstock.kernels.ops import TorchOps

SIZES = [
    (1, 64, 64),
    (1, 1, 1),
    (2, 66, 3),
    (3, 100, 33),
    (7, 96, 64),
    (13, 130, 257),
    (29, 64, 96),
    (200, 192, 128),
]
"""Rows, outputs, inputs."""


def _codes(outputs, inputs, bits, group, offsets, generator):
    step = STEP[bits]
    group = group or -(-inputs // step) * step
    groups = -(-inputs // group)
    scales_GO = (torch.rand(groups, outputs, generator=generator) * 0.01 + 0.001).half()
    return Codes(
        torch.randint(0, 2**bits, (outputs, inputs), dtype=torch.uint8, generator=generator),
        scales_GO,
        bits,
        group,
        torch.float32,
        zero=2 ** (bits - 1),
        offsets_GO=(scales_GO * 7.3).half() if offsets else None,
    )


def _rounded(x_NI):
    """What the kernels make of activations: 8 bits, one scale a row."""
    scale_N1 = x_NI.abs().amax(1, keepdim=True) / 127
    return (x_NI / scale_N1.clamp(min=1e-30)).round().double() * scale_N1


def _reference(x_NI, weight_OI, bias_O, act, gated, residual):
    out_NO = x_NI.double() @ weight_OI.double().T
    if bias_O is not None:
        out_NO = out_NO + bias_O.double()
    if gated:
        gate, up = out_NO.chunk(2, dim=1)
        out_NO = {"silu": F.silu, "gelu_new": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}[act](
            gate
        ) * up
    return out_NO if residual is None else out_NO + residual.double()


def _check(ops, weight, x_NI, want_of, bias_O, act, generator, bound, gated):
    packed = Packed(weight, bias_O, gated)
    residual = torch.randn(x_NI.shape[0], packed.outputs, generator=generator).to(x_NI.dtype)
    for more in (None, residual):
        if gated and more is not None:
            continue
        got = ops.gated_linear(act, x_NI, packed) if gated else ops.linear(x_NI, packed, bias_O, more)
        want = want_of(more)
        assert got.dtype == x_NI.dtype and got.shape == want.shape
        error = (got.double() - want).abs() / (1 + want.abs())
        assert error.max() <= bound, (packed.shape, gated, more is not None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("act", [None, "silu", "gelu_new", "relu"])
def test_floats(threads, dtype, act):
    ops, generator = NativeOps(TorchOps()), torch.Generator().manual_seed(1)
    for rows, outputs, inputs in SIZES:
        outputs += outputs % 2
        x_NI = torch.randn(rows, inputs, generator=generator).to(dtype)
        weight_OI = (torch.randn(outputs, inputs, generator=generator) / inputs**0.5).to(dtype)
        bias_O = torch.randn(outputs, generator=generator).to(dtype)
        bound = 2e-5 if dtype == torch.float32 else 2**-8
        for bias in (None, bias_O):
            want = lambda more, b=bias: _reference(x_NI, weight_OI, b, act, act is not None, more)  # noqa: E731, B023
            _check(ops, weight_OI, x_NI, want, bias, act, generator, bound, act is not None)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group", [0, 32, 128])
@pytest.mark.parametrize("offsets", [False, True])
def test_codes(threads, bits, group, offsets):
    ops, generator = NativeOps(TorchOps()), torch.Generator().manual_seed(2)
    for rows, outputs, inputs in SIZES:
        outputs += outputs % 2
        for gated in (False, True):
            x_NI = torch.randn(rows, inputs, generator=generator)
            codes = _codes(outputs, inputs, bits, group, offsets, generator)
            bias_O = torch.randn(outputs, generator=generator)
            weight_OI = codes.dequantised()
            want = lambda more: _reference(_rounded(x_NI), weight_OI, bias_O, "silu", gated, more)  # noqa: E731, B023
            # A value that lies just between two codes may fall either way.
            slack = 2 * float((x_NI.abs().amax() / 127) * weight_OI.abs().max())
            _check(ops, codes, x_NI, want, bias_O, "silu", generator, 1e-4 + slack, gated)


def test_codes_of_whole_activations_are_exact(isa):
    """With activations that 8 bits hold exactly, nothing but the last rounding may differ."""
    ops, generator = NativeOps(TorchOps()), torch.Generator().manual_seed(3)
    for bits in (8, 4):
        codes = _codes(130, 257, bits, 32, False, generator)
        x_NI = torch.randint(-127, 128, (9, 257), generator=generator).float()
        x_NI[:, 0] = 127.0
        want = x_NI.double() @ codes.dequantised().double().T
        got = ops.linear(x_NI, Packed(codes))
        assert ((got - want).abs() / (1 + want.abs())).max() < 1e-5


def test_a_row_does_not_depend_on_the_rows_beside_it(threads):
    ops, generator = NativeOps(TorchOps()), torch.Generator().manual_seed(4)
    for dtype in (torch.float32, torch.bfloat16):
        weights = [
            torch.randn(130, 192, generator=generator).to(dtype),
            _codes(130, 192, 4, 32, True, generator),
        ]
        x_NI = torch.randn(50, 192, generator=generator).to(dtype)
        for weight in weights:
            packed = Packed(weight)
            alone = torch.cat([ops.linear(row[None], packed) for row in x_NI])
            for cut in (2, 5, 6, 7, 50):
                assert torch.equal(torch.cat([ops.linear(part, packed) for part in x_NI.split(cut)]), alone)


def test_zeros_denormals_and_infinities(isa):
    ops = NativeOps(TorchOps())
    weight_OI = torch.full((64, 32), 0.5)
    x_NI = torch.zeros(4, 32)
    x_NI[1] = 1e-40
    x_NI[2, 3] = float("inf")
    x_NI[3, 5] = float("nan")
    got = ops.linear(x_NI, Packed(weight_OI))
    assert (got[0] == 0).all() and (got[1].abs() <= 1e-37).all()
    assert torch.isinf(got[2]).all() and torch.isnan(got[3]).all()
    codes = _codes(64, 32, 8, 0, False, torch.Generator().manual_seed(5))
    assert (ops.linear(x_NI[:1], Packed(codes)) == 0).all()


def test_no_rows(isa):
    got = NativeOps(TorchOps()).linear(torch.zeros(0, 32), Packed(torch.ones(64, 32)))
    assert got.shape == (0, 64)


def test_strided_activations(isa):
    ops, generator = NativeOps(TorchOps()), torch.Generator().manual_seed(6)
    wide = torch.randn(5, 300, generator=generator)
    weight_OI = torch.randn(70, 96, generator=generator)
    for x_NI in (wide[:, 17:113], wide.T[:96, :70].T):
        got = ops.linear(x_NI, Packed(weight_OI))
        assert (got - x_NI @ weight_OI.T).abs().max() < 1e-4


def test_logits_come_in_float32(isa):
    ops, generator = NativeOps(TorchOps()), torch.Generator().manual_seed(7)
    weight_OI, x_NI = (torch.randn(n, 64, generator=generator).bfloat16() for n in (100, 3))
    got = ops.head(x_NI, Packed(weight_OI))
    assert got.dtype == torch.float32 and (got - x_NI.float() @ weight_OI.float().T).abs().max() < 1e-4
