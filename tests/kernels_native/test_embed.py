"""Rows come out of a packed matrix as they went in, and a matrix can be put together again from its parts."""

import pytest
import torch

from penstock.kernels.codes import round_to_nearest
from penstock.kernels.native.ops import NativeOps
from penstock.kernels.native.packed import ALIGNMENT, Packed, layout_version
from penstock.kernels.ops import TorchOps

SIZES = [(1, 1), (64, 64), (65, 3), (130, 257), (200, 96)]
"""Outputs, inputs."""


def _bits(shape, dtype, generator):
    """Every pattern of bits, NaN with payloads and denormals among them."""
    words = torch.randint(-(2**31), 2**31 - 1, shape, generator=generator).int()
    return words.view(torch.float32) if dtype == torch.float32 else words.to(torch.int16).view(torch.bfloat16)


def _same(one, other):
    kind = torch.int32 if one.dtype == torch.float32 else torch.int16
    return one.dtype == other.dtype and torch.equal(one.view(kind), other.view(kind))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_bit_for_bit_what_was_packed(threads, dtype):
    ops, generator = NativeOps(TorchOps()), torch.Generator().manual_seed(1)
    for outputs, inputs in SIZES:
        weight_OI = _bits((outputs, inputs), dtype, generator)
        packed = Packed(weight_OI)
        for count in (0, 1, 15, 16, 17, 100):
            ids_N = torch.randint(0, outputs, (count,), generator=generator)
            assert _same(ops.lookup(ids_N, packed), weight_OI[ids_N]), (outputs, inputs, count)
        every_other = torch.arange(outputs).repeat_interleave(2)[::2]
        assert not every_other.is_contiguous() or outputs == 1
        assert _same(ops.lookup(every_other, packed), weight_OI)


def test_an_id_that_is_no_row(isa):
    packed = Packed(torch.ones(65, 8))  # padded to 128 outputs
    for beyond in (-1, 65, 127, 2**40):
        with pytest.raises(IndexError, match="rows 0 to 64"):
            packed.rows(torch.tensor([3, beyond]))


def test_only_plain_matrices_have_their_rows(isa):
    weight_OI = torch.randn(128, 64, generator=torch.Generator().manual_seed(2))
    for packed in (Packed(weight_OI, gated=True), Packed(round_to_nearest(weight_OI, 8))):
        assert not packed.has_rows
        with pytest.raises(TypeError):
            packed.rows(torch.tensor([0]))
    assert Packed(weight_OI).has_rows


def test_what_is_not_packed_is_looked_up_too(isa):
    weight_OI = torch.randn(9, 4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(NativeOps(TorchOps()).lookup(torch.tensor([8, 0]), weight_OI), weight_OI[[8, 0]])


@pytest.mark.parametrize("bits", [0, 8, 4])
@pytest.mark.parametrize("gated", [False, True])
def test_restored_from_its_parts(isa, bits, gated):
    ops, generator = NativeOps(TorchOps()), torch.Generator().manual_seed(4)
    weight_OI = torch.randn(100, 72, generator=generator)
    packed = Packed(
        round_to_nearest(weight_OI, bits, 32 if bits == 4 else 0) if bits else weight_OI,
        torch.randn(100, generator=generator),
        gated,
    )
    again = Packed.restored(packed.form, packed.parts)
    assert again.parts["codes"].data_ptr() == packed.parts["codes"].data_ptr(), "a copy was made"
    assert (again.shape, again.outputs, again.nbytes) == (packed.shape, packed.outputs, packed.nbytes)
    x_NI = torch.randn(3, 72, generator=generator)
    if gated:
        assert torch.equal(ops.gated_linear("silu", x_NI, again), ops.gated_linear("silu", x_NI, packed))
    else:
        assert torch.equal(ops.linear(x_NI, again), ops.linear(x_NI, packed))


def test_parts_that_do_not_fit_are_refused(isa):
    packed = Packed(round_to_nearest(torch.ones(70, 40), 4, 32))
    form, parts = packed.form, packed.parts
    shifted = torch.empty(len(parts["codes"]) + 2 * ALIGNMENT, dtype=torch.uint8)
    off = -shifted.data_ptr() % ALIGNMENT + 8
    for wrong in (
        {"codes": parts["codes"]},
        parts | {"scales": parts["scales"][:, :-1]},
        parts | {"codes": parts["codes"][:-1]},
        parts | {"more": parts["codes"]},
        parts | {"codes": shifted[off : off + len(parts["codes"])]},
    ):
        with pytest.raises(ValueError):
            Packed.restored(form, wrong)


def test_the_layout_has_a_version(isa):
    assert layout_version() >= 1
