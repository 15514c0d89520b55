"""Norms and rotations against the plain operations, whatever the width."""

import pytest
import torch

from penstock.kernels.native.ops import NativeOps
from penstock.kernels.ops import TorchOps

BOUND = {torch.float32: 1e-5, torch.bfloat16: 2**-7}


def _close(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape
    assert ((got.float() - want.float()).abs() / (1 + want.float().abs())).max() <= BOUND[got.dtype]


@pytest.mark.parametrize("dtype", list(BOUND))
@pytest.mark.parametrize("size", [1, 7, 16, 48, 129, 1024])
def test_rms_norm(threads, dtype, size):
    plain, ops, generator = TorchOps(), NativeOps(TorchOps()), torch.Generator().manual_seed(size)
    for rows in (1, 3, 70):
        x = (torch.randn(rows, 2, size, generator=generator) * 3).to(dtype)
        weight = torch.randn(size, generator=generator).to(dtype)
        for offset in (0.0, 1.0):
            _close(ops.rms_norm(x, weight, 1e-6, offset), plain.rms_norm(x, weight, 1e-6, offset))
        _close(ops.rms_norm(x[:, 1], weight, 1e-6), plain.rms_norm(x[:, 1], weight, 1e-6))


@pytest.mark.parametrize("dtype", list(BOUND))
@pytest.mark.parametrize(("dim", "half"), [(8, 4), (16, 4), (20, 10), (64, 32), (96, 24), (128, 64)])
def test_rotate(threads, dtype, dim, half):
    plain, ops, generator = TorchOps(), NativeOps(TorchOps()), torch.Generator().manual_seed(dim)
    for rows in (1, 5, 40):
        x_NHD = torch.randn(rows, 3, dim, generator=generator).to(dtype)
        angle_NR = torch.rand(rows, half, generator=generator) * 6
        got = ops.rotate(x_NHD, angle_NR.cos(), angle_NR.sin())
        _close(got, plain.rotate(x_NHD, angle_NR.cos(), angle_NR.sin()))
        assert torch.equal(got[..., 2 * half :], x_NHD[..., 2 * half :])
        assert torch.equal(
            torch.cat(
                [
                    ops.rotate(x_NHD[i : i + 1], angle_NR[i : i + 1].cos(), angle_NR[i : i + 1].sin())
                    for i in range(rows)
                ]
            ),
            got,
        )
