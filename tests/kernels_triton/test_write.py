"""The KV-write kernel stores the very bytes that the torch codecs store."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from penstock.kernels.codec import Int8Codec, RawCodec
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.triton.launch import write_kv

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def blank(codec, layer, dtype, blocks, page):
    return {
        name: torch.full((blocks, layer.kv_heads, page, *spec.item), 3, dtype=spec.dtype, device=DEVICE)
        for name, spec in codec.planes(layer, dtype).items()
    }


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 12),
    kv_heads=st.integers(1, 3),
    head_dim=st.sampled_from([8, 20, 64, 80]),
    page=st.sampled_from([4, 16, 32]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    int8=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_bytes_equal_the_codec(rows, kv_heads, head_dim, page, dtype, int8, seed):
    gen = torch.Generator().manual_seed(seed)
    codec = Int8Codec() if int8 else RawCodec()
    layer = LayerSpec(0, kv_heads, kv_heads, head_dim, 1.0)
    fused = torch.randn(rows, 2 * kv_heads * head_dim, generator=gen).to(dtype).to(DEVICE)
    k, v = (x.view(rows, kv_heads, head_dim) for x in fused.chunk(2, dim=1))
    v[0] = 0
    slots = torch.randperm(4 * page, generator=gen)[:rows].to(DEVICE)
    want, got = (blank(codec, layer, dtype, 4, page) for _ in range(2))
    codec.write(want, slots, k, v)
    write_kv(got, slots, k, v)
    for name in want:
        assert torch.equal(got[name], want[name]), name


def test_negative_slots_are_left_out():
    layer = LayerSpec(0, 2, 2, 16, 1.0)
    planes = blank(RawCodec(), layer, torch.float32, 2, 16)
    before = planes["k"].clone()
    x = torch.ones(3, 2, 16, device=DEVICE)
    write_kv(planes, torch.tensor([-1, 5, -1], device=DEVICE), x, x)
    before[0, :, 5] = 1
    assert torch.equal(planes["k"], before)


def test_no_rows_is_nothing_to_do():
    planes = blank(RawCodec(), LayerSpec(0, 2, 2, 16, 1.0), torch.float32, 2, 16)
    empty = torch.zeros(0, 2, 16, device=DEVICE)
    write_kv(planes, torch.zeros(0, dtype=torch.long, device=DEVICE), empty, empty)
    assert (planes["k"] == 3).all()
