"""The choice of a token and the masks before it: kernels equal the plain ways in every instruction set."""

import numpy as np
import pytest
import torch

from penstock.runtime.sampler.draw import draw_native, draw_plain
from penstock.runtime.sampler.knobs import Knobs
from penstock.runtime.sampler.noise import row_keys
from penstock.runtime.sampler.restrain import restrain_native, restrain_plain


def _knobs(rows, temperature, salt):
    every = np.arange(rows)
    return Knobs(
        np.full(rows, temperature),
        np.zeros(rows, np.int64),
        np.ones(rows),
        np.zeros(rows),
        row_keys((every * 7919 + salt).astype(np.uint64), every + salt),
    )


@pytest.mark.parametrize("vocab", [1, 2, 7, 511, 512, 513, 3072, 32001])
@pytest.mark.parametrize("temperature", [0.02, 1.0, 40.0])
def test_same_tokens(threads, vocab, temperature):
    logits_RV = torch.randn(60, vocab, generator=torch.Generator().manual_seed(vocab)) * 3
    knobs = _knobs(60, temperature, vocab)
    assert torch.equal(draw_native(logits_RV, knobs), draw_plain(logits_RV, knobs))


def test_masked_tokens_are_never_drawn_and_equal_rows_draw_by_their_keys(isa):
    logits_RV = torch.zeros(300, 1000)
    logits_RV[:, ::3] = float("-inf")
    logits_RV[0] = float("-inf")
    logits_RV[0, 999] = -5.0
    tokens_R = draw_native(logits_RV, _knobs(300, 1.0, 1))
    assert tokens_R[0] == 999 and (tokens_R[1:] % 3 != 0).all()
    assert len(set(tokens_R.tolist())) > 150


def test_frequencies_are_those_of_the_softmax(isa):
    logits_V = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
    tokens_R = draw_native(logits_V.expand(40000, 5), _knobs(40000, 1.5, 2))
    found_V = torch.bincount(tokens_R, minlength=5) / 40000
    assert (found_V - torch.softmax(logits_V / 1.5, 0)).abs().max() < 0.01


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 511, 3072, 32001])
def test_same_masks(threads, vocab):
    rng = np.random.default_rng(vocab)
    masks_XW = rng.integers(-(2**31), 2**31, (5, -(-vocab // 32)), np.int64).astype(np.int32)
    masks_XW[1], masks_XW[2], masks_XW[3, ::2] = 0, -1, 0
    plain_RV = torch.from_numpy(rng.standard_normal((9, vocab), np.float32))
    native_RV = plain_RV.clone()
    restrain_plain(plain_RV, [0, 2, 3, 6, 8], masks_XW)
    restrain_native(native_RV, [0, 2, 3, 6, 8], masks_XW)
    assert torch.equal(plain_RV, native_RV)


def test_few_allowed_tokens_are_drawn_as_by_the_plain_way(threads):
    logits_RV = torch.full((64, 32000), float("-inf"))
    allowed_RK = torch.randint(0, 32000, (64, 5), generator=torch.Generator().manual_seed(3))
    logits_RV.scatter_(1, allowed_RK, torch.randn(64, 5, generator=torch.Generator().manual_seed(4)))
    knobs = _knobs(64, 1.0, 9)
    tokens_R = draw_native(logits_RV, knobs)
    assert torch.equal(tokens_R, draw_plain(logits_RV, knobs))
    assert (allowed_RK == tokens_R[:, None]).any(1).all()
