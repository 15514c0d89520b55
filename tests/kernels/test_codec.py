"""Codecs: what goes in comes out, within the stated bound, and reads go through the codec."""

import pytest
import torch

from penstock.core.errors import ConfigError
from penstock.kernels.attention.torch_backend import TorchAttention
from penstock.kernels.codec import Int8Codec, RawCodec, make_codec
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.store import KVStore
from tests.kernels.reference import attend_slowly, make_case

torch.set_num_threads(1)
LAYER = LayerSpec(0, 4, 2, 16, 0.25)


def _stored(codec, k, v, page=4):
    store = KVStore([LAYER], codec, 6, page, torch.float32, "cpu")
    slots = torch.randperm(24)[: len(k)]
    planes = store.layer(0).planes
    codec.write(planes, slots, k, v)
    tiles = torch.arange(12)
    out = [
        t.view(6, 2, page, 16).transpose(1, 2).reshape(24, 2, 16)
        for t in codec.gather(planes, tiles, k.dtype)
    ]
    return out[0][slots], out[1][slots]


def test_raw_is_exact():
    k, v = torch.randn(2, 17, 2, 16)
    got_k, got_v = _stored(RawCodec(), k, v)
    assert torch.equal(got_k, k) and torch.equal(got_v, v)


def test_int8_is_within_half_a_step():
    k, v = torch.randn(2, 17, 2, 16) * torch.logspace(-4, 4, 17)[:, None, None]
    k[3] = 0.0
    for got, want in zip(_stored(Int8Codec(), k, v), (k, v), strict=True):
        half_step = want.abs().amax(-1, keepdim=True) / 127 / 2
        assert torch.all((got - want).abs() <= half_step * 1.001)
    assert torch.equal(_stored(Int8Codec(), k, v)[0][3], torch.zeros(2, 16))


def test_int8_attention_is_close_and_random_values_are_not():
    work = [(1, 60), (9, 30), (1, 7)]
    for seed in range(3):
        case = make_case(LAYER, work, 8, seed=seed, codec=Int8Codec())
        backend = TorchAttention()
        got = backend.attend(case.q_NHD, case.kv, LAYER, backend.plan(case.rows, 8)).out_NHD
        want, _ = attend_slowly(case)
        error = (got - want).abs().mean() / want.abs().mean()
        assert error < 0.02
        # Lower bound: the same bytes filled at random are far off, so closeness is not for free.
        for plane in case.kv.planes.values():
            if plane.dtype == torch.int8:
                plane.random_(-127, 128)
        noise = backend.attend(case.q_NHD, case.kv, LAYER, backend.plan(case.rows, 8)).out_NHD
        assert (noise - want).abs().mean() / want.abs().mean() > 0.5


def test_bytes_and_layout():
    store = KVStore([LAYER], Int8Codec(), 5, 4, torch.bfloat16, "cpu")
    planes = store.layer(0).planes
    assert planes["k"].shape == (6, 2, 4, 16) and planes["k_scale"].shape == (6, 2, 4)
    per_token = 2 * (2 * 16 * 1 + 2 * 4)
    assert store.nbytes() == 6 * 4 * per_token
    assert store.scratch_slot == 20 and store.scratch_block == 5


def test_unknown_codec():
    assert make_codec("auto").name == "raw"
    with pytest.raises(
        ConfigError, match=r"cache\.kv_cache_dtype: expected one of auto, raw, int8, got 'fp4'"
    ):
        make_codec("fp4")
