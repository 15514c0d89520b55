"""Attention on the kernels against its definition and, in bits, against itself in other company."""

import dataclasses
import zlib

import pytest
import torch

from penstock.core.errors import ConfigError
from penstock.kernels.attention.base import AttentionBackend, AttnNeed, LayerKV, WritingBackend
from penstock.kernels.attention.registry import choose_backend
from penstock.kernels.attention.torch_backend import TorchAttention
from penstock.kernels.codec import Int8Codec, RawCodec
from penstock.kernels.compile import compile_attention
from penstock.kernels.layer_spec import LayerSpec, Mask
from penstock.kernels.native.attention import NativeAttention
from penstock.kernels.native.library import start_team
from penstock.kernels.store import KVStore
from tests.kernels.reference import attend_slowly, make_case

torch.set_num_threads(1)
MIXED = [(1, 1), (1, 40), (7, 7), (1, 33), (20, 57), (1, 150), (2, 9), (1, 8), (1, 16), (33, 140)]
LAYERS = {
    "full": LayerSpec(0, 4, 2, 16, 0.25),
    "window": LayerSpec(0, 4, 4, 12, 0.3, Mask(9)),
    "softcap": LayerSpec(0, 6, 1, 8, 0.5, Mask(20), softcap=2.0),
    "narrow": LayerSpec(0, 3, 3, 5, 0.4, Mask(1)),
}
SHAPES = [
    (8, 8),
    (3, 16),
    (1, 20),
    (2, 32),
    (5, 64),
    (4, 80),
    (7, 96),
    (2, 128),
    (8, 128),
    (6, 192),
    (1, 256),
]


def _attend(case, rows=None, q_NHD=None):
    backend = NativeAttention()
    plan = backend.plan(case.rows if rows is None else rows, case.store.page_size)
    return backend.attend(case.q_NHD if q_NHD is None else q_NHD, case.kv, case.layer, plan)


def _check(case, atol=3e-6):
    part = _attend(case)
    out, lse = attend_slowly(case)
    torch.testing.assert_close(part.out_NHD.double(), out, atol=atol, rtol=1e-5)
    torch.testing.assert_close(part.lse_NH.double(), lse, atol=atol * 4, rtol=1e-5)


def _alone(case, sequence, first, count, length):
    """The rows of a step that holds only a piece of one sequence, whose keys end at ``length``."""
    return dataclasses.replace(
        case.rows,
        positions_N=torch.arange(first, first + count),
        block_table_SB=case.rows.block_table_SB[sequence : sequence + 1],
        q_lens=[count],
        kv_lens=[length],
    )


@pytest.mark.parametrize("name", LAYERS)
def test_mixed_steps(threads, name):
    for page in (4, 16, 24):
        _check(make_case(LAYERS[name], MIXED, page))


@pytest.mark.parametrize("page", [8, 16, 32, 128])
@pytest.mark.parametrize(("share", "dim"), SHAPES)
def test_shapes(threads, share, dim, page):
    """Groups of all sizes by heads of all widths, at the borders of pages, in chunks and one by one."""
    seed = zlib.crc32(repr((share, dim, page)).encode())
    mask = Mask((None, 17, 70)[seed % 3])
    layer = LayerSpec(0, 2 * share, 2, dim, dim**-0.5, mask, softcap=(None, 30.0)[seed // 3 % 2])
    work = [(1, page), (1, page + 1), (1, 3 * page - 1), (5, page + 2), (page, page), (17, 90)]
    case = make_case(layer, work, page, seed=seed % 1000)
    want = TorchAttention()
    want = want.attend(case.q_NHD, case.kv, layer, want.plan(case.rows, page))
    got = _attend(case)
    torch.testing.assert_close(got.out_NHD, want.out_NHD, atol=5e-6, rtol=1e-5)
    torch.testing.assert_close(got.lse_NH, want.lse_NH, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [None, 700])
def test_long_contexts(threads, window):
    """More keys than a segment holds; with three threads the one sequence is divided."""
    layer = LayerSpec(0, 4, 2, 64, 0.125, Mask(window), softcap=50.0)
    for work in ([(1, 1537)], [(3, 2000)], [(1, 512), (1, 513), (1, 1300), (40, 1100)]):
        case = make_case(layer, work, 16, seed=5)
        want = TorchAttention()
        want = want.attend(case.q_NHD, case.kv, layer, want.plan(case.rows, 16))
        got = _attend(case)
        torch.testing.assert_close(got.out_NHD, want.out_NHD, atol=3e-6, rtol=1e-5)
        torch.testing.assert_close(got.lse_NH, want.lse_NH, atol=2e-5, rtol=1e-5)


def test_bfloat16(threads):
    for share, dim in ((1, 64), (2, 128), (16, 96), (4, 20)):
        layer = LayerSpec(0, 2 * share, 2, dim, dim**-0.5, Mask(100))
        case = make_case(layer, [(1, 150), (30, 120), (1, 16)], 16)
        planes = {name: plane.bfloat16() for name, plane in case.kv.planes.items()}
        kv, q_NHD, backend = LayerKV(planes, RawCodec()), case.q_NHD.bfloat16(), NativeAttention()
        got = backend.attend(q_NHD, kv, layer, backend.plan(case.rows, 16))
        plain = TorchAttention()
        want = plain.attend(q_NHD, kv, layer, plain.plan(case.rows, 16))
        assert got.out_NHD.dtype == torch.bfloat16
        torch.testing.assert_close(got.out_NHD.float(), want.out_NHD, atol=1e-5, rtol=2**-8)
        torch.testing.assert_close(got.lse_NH, want.lse_NH, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", [5, 8, 9, 10, 11, 15, 16, 63, 64, 65, 72, 511, 512, 520])
def test_window_border(threads, position):
    """The newest key and the oldest in the window are seen, the one just outside is not."""
    layer = LayerSpec(0, 1, 1, 4, 1.0, Mask(10))
    before = _attend(make_case(layer, [(1, position + 1)], 4, seed=position))
    low = layer.mask.first_visible(position)
    for key, matters in ((low, True), (position, True), (low - 1, False)):
        if key >= 0:
            changed = make_case(layer, [(1, position + 1)], 4, seed=position)
            block = int(changed.rows.block_table_SB[0, key // 4])
            changed.kv.planes["v"][block, 0, key % 4] += 5.0
            assert torch.equal(before.out_NHD, _attend(changed).out_NHD) != matters


def test_positions_are_taken_as_given(threads):
    """Rows need not be the last of their context, nor consecutive, nor in order."""
    for layer in LAYERS.values():
        _check(make_case(layer, [(1, 40), (4, 33), (3, 5)], 8, positions=[[3], [30, 2, 17, 17], [0, 1, 2]]))


def test_rows_that_see_nothing(threads):
    """A row whose window begins beyond the context is empty; its company is not touched."""
    layer = LAYERS["window"]
    case = make_case(layer, [(3, 40), (1, 33)], 8, positions=[[39, 60, 12], [50]])
    part = _attend(case)
    for row in (1, 3):
        assert (part.out_NHD[row] == 0).all() and (part.lse_NH[row] == float("-inf")).all()
    alone = _attend(case, _alone(case, 0, 39, 1, 40), case.q_NHD[:1])
    assert torch.equal(part.out_NHD[0], alone.out_NHD[0]) and torch.equal(part.lse_NH[0], alone.lse_NH[0])


def test_no_context_at_all(threads):
    case = make_case(LAYERS["full"], [(2, 9)], 8)
    part = _attend(case, dataclasses.replace(case.rows, kv_lens=[0]))
    assert (part.out_NHD == 0).all() and (part.lse_NH == float("-inf")).all()


def test_padding_rows_are_empty_and_change_nothing(threads):
    case = make_case(LAYERS["full"], MIXED[:4], 8)
    want, count = _attend(case), len(case.rows.positions_N)
    positions_N = torch.cat((case.rows.positions_N, torch.zeros(5, dtype=torch.int64)))
    rows = dataclasses.replace(case.rows, positions_N=positions_N, padded_from=count)
    got = _attend(case, rows, torch.cat((case.q_NHD, torch.full((5, 4, 16), float("nan")))))
    assert torch.equal(got.out_NHD[:count], want.out_NHD)
    assert torch.isfinite(got.out_NHD).all()


@pytest.mark.parametrize("name", [*LAYERS, "grouped"])
def test_bits_do_not_show_chunks_company_or_threads(isa, name):
    layer = LAYERS.get(name) or LayerSpec(0, 8, 2, 64, 0.125, softcap=20.0)
    start_team(1)
    case = make_case(layer, [(1, 30), (700, 700), (5, 90), (1, 1100)], 8, seed=7)
    whole = _attend(case)
    try:
        for threads in (3, 1):
            start_team(threads, spin_us=20)
            again = _attend(case)
            assert torch.equal(again.out_NHD, whole.out_NHD) and torch.equal(again.lse_NH, whole.lse_NH)
            start = 0
            for count in (7, 1, 64, 78, 361, 1, 188):
                mine = slice(1 + start, 1 + start + count)
                part = _attend(case, _alone(case, 1, start, count, start + count), case.q_NHD[mine])
                assert torch.equal(part.out_NHD, whole.out_NHD[mine])
                assert torch.equal(part.lse_NH, whole.lse_NH[mine])
                start += count
            last = _attend(case, _alone(case, 3, 1099, 1, 1100), case.q_NHD[-1:])
            assert torch.equal(last.out_NHD, whole.out_NHD[-1:])
    finally:
        start_team(1)


def test_layers_that_share_a_plan(isa):
    """Layers of one step may differ in anything: each is computed as if it were alone."""
    case = make_case(LAYERS["full"], MIXED[:5], 8)
    backend = NativeAttention()
    plan = backend.plan(case.rows, 8)
    changes = ({}, {"scale": 0.5}, {"softcap": 3.0}, {"mask": Mask(5)}, {"heads": 2}, {})
    seen = []
    for change in changes:
        layer = dataclasses.replace(case.layer, **change)
        q_NHD = case.q_NHD[:, : layer.heads]
        got = backend.attend(q_NHD, case.kv, layer, plan)
        alone = backend.attend(q_NHD, case.kv, layer, backend.plan(case.rows, 8))
        assert torch.equal(got.out_NHD, alone.out_NHD) and torch.equal(got.lse_NH, alone.lse_NH)
        seen.append(got.lse_NH)
    assert torch.equal(seen[0], seen[-1])
    assert not any(torch.equal(one, seen[0]) for one in seen[1:-1])


def test_int8(threads):
    for share, dim in ((1, 64), (3, 20), (16, 96)):
        layer = LayerSpec(0, 2 * share, 2, dim, dim**-0.5, Mask(100))
        case = make_case(layer, [(1, 150), (30, 120), (1, 16)], 16, codec=Int8Codec())
        plain = TorchAttention()
        want = plain.attend(case.q_NHD, case.kv, layer, plain.plan(case.rows, 16))
        got = _attend(case)
        torch.testing.assert_close(got.out_NHD, want.out_NHD, atol=3e-6, rtol=1e-5)
        torch.testing.assert_close(got.lse_NH, want.lse_NH, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("codec", [RawCodec(), Int8Codec()], ids=lambda codec: codec.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_stored_as_the_codec_stores_them(threads, dtype, codec):
    """To the bit, also from rows that are slices of a wider one, and rows of zeros."""
    generator = torch.Generator().manual_seed(3)
    for rows, heads, dim in ((1, 2, 12), (9, 3, 5), (300, 2, 64)):
        layer = LayerSpec(0, heads, heads, dim, 1.0)
        qkv_NF = torch.randn(rows, 4 * heads * dim, generator=generator).to(dtype)
        k_NGD, v_NGD = qkv_NF[:, 2 * heads * dim :].view(rows, 2, heads, dim).unbind(1)
        v_NGD[-1] = 0.0
        slots_N = torch.randperm(400, generator=generator)[:rows]
        native, plain = (KVStore([layer], codec, 50, 8, dtype, "cpu").layer(0) for _ in range(2))
        NativeAttention().write(native, slots_N, k_NGD, v_NGD)
        codec.write(plain.planes, slots_N, k_NGD, v_NGD)
        assert all(torch.equal(native.planes[name], plain.planes[name]) for name in plain.planes)
        assert native.planes["k"].any()


def test_chosen_beside_native_kernels_only(isa):
    need = AttnNeed("cpu", torch.bfloat16, "raw", (LAYERS["full"],), kernels="native")
    backend = choose_backend("auto", need)
    assert isinstance(backend, NativeAttention)
    assert isinstance(backend, AttentionBackend) and isinstance(backend, WritingBackend)
    assert choose_backend("auto", dataclasses.replace(need, batch_invariant=True)).name == "native"
    assert choose_backend("torch", need).name == "torch"
    assert choose_backend("auto", dataclasses.replace(need, kernels="torch")).name == "torch"
    for change, reason in (
        ({"kernels": "torch"}, "model.kernels native"),
        ({"dtype": torch.float16}, "float16"),
        ({"codec": "fp8"}, "raw and int8 KV only"),
        ({"device": "cuda"}, "runs on cpu"),
    ):
        with pytest.raises(ConfigError, match=reason):
            choose_backend("native", dataclasses.replace(need, **change))
    layers = [LAYERS["full"]]
    assert compile_attention(layers, torch.float32, "cpu", kernels="native").backend.name == "native"
    assert compile_attention(layers, torch.float32, "cpu").backend.name == "torch"
