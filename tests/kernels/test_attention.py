"""Both CPU backends against attention by the definition, over scattered pages poisoned with nan."""

import dataclasses

import pytest
import torch

import penstock.kernels.attention.torch_backend as torch_backend
from penstock.core.errors import ConfigError
from penstock.kernels.attention.base import AttentionBackend, AttnNeed
from penstock.kernels.attention.invariant import InvariantAttention
from penstock.kernels.attention.registry import backend_class, choose_backend
from penstock.kernels.attention.torch_backend import TorchAttention
from penstock.kernels.layer_spec import LayerSpec, Mask
from penstock.kernels.partial import merge
from tests.kernels.reference import attend_slowly, make_case

torch.set_num_threads(1)
BACKENDS = [TorchAttention(), InvariantAttention()]
LAYERS = {
    "full": LayerSpec(0, 4, 2, 16, 0.25),
    "window": LayerSpec(0, 4, 4, 12, 0.3, Mask(9)),
    "softcap": LayerSpec(0, 6, 1, 8, 0.5, Mask(20), softcap=2.0),
    "narrow": LayerSpec(0, 3, 3, 5, 0.4, Mask(1)),
}
MIXED = [(1, 1), (1, 40), (7, 7), (1, 33), (20, 57), (1, 150), (2, 9), (1, 8), (1, 16), (33, 140)]


def _check(backend, case, atol=3e-6):
    plan = backend.plan(case.rows, case.store.page_size)
    part = backend.attend(case.q_NHD, case.kv, case.layer, plan)
    out, lse = attend_slowly(case)
    torch.testing.assert_close(part.out_NHD.double(), out, atol=atol, rtol=1e-5)
    torch.testing.assert_close(part.lse_NH.double(), lse, atol=atol * 4, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
@pytest.mark.parametrize("name", LAYERS)
def test_mixed_steps(backend, name):
    assert isinstance(backend, AttentionBackend)
    for page in (4, 16):
        _check(backend, make_case(LAYERS[name], MIXED, page))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_small_tiles(backend, monkeypatch):
    """Tiles far smaller than the work: every border between tiles, groups and fragments is crossed."""
    monkeypatch.setattr(torch_backend, "_QUERY_TILE", 5)
    monkeypatch.setattr(torch_backend, "_KEY_TILE", 12)
    monkeypatch.setattr(torch_backend, "_GROUP_TOKENS", 64)
    for layer in LAYERS.values():
        _check(backend, make_case(layer, MIXED, 4, seed=1))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
@pytest.mark.parametrize("position", range(5, 30))
def test_window_border(backend, position):
    """Around the border the newest key is seen, the one just outside the window is not."""
    layer = LayerSpec(0, 1, 1, 4, 1.0, Mask(10))
    case = make_case(layer, [(1, position + 1)], 4, seed=position)
    _check(backend, case)
    low = layer.mask.first_visible(position)
    before = backend.attend(case.q_NHD, case.kv, layer, backend.plan(case.rows, 4))
    for key, matters in ((low, True), (position, True), (low - 1, False)):
        if key < 0:
            continue
        changed = make_case(layer, [(1, position + 1)], 4, seed=position)
        block = int(changed.rows.block_table_SB[0, key // 4])
        changed.kv.planes["v"][block, 0, key % 4] += 5.0
        after = backend.attend(changed.q_NHD, changed.kv, layer, backend.plan(changed.rows, 4))
        assert torch.equal(before.out_NHD, after.out_NHD) != matters


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_positions_are_taken_as_given(backend):
    """Rows need not be the last ones of their context, nor be consecutive, nor in order."""
    positions = [[3], [30, 2, 17, 17], [0, 1, 2]]
    for layer in LAYERS.values():
        _check(backend, make_case(layer, [(1, 40), (4, 33), (3, 5)], 8, positions=positions))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_padding_rows_stay_finite_and_change_nothing(backend):
    case = make_case(LAYERS["full"], MIXED[:4], 8)
    plan = backend.plan(case.rows, 8)
    want = backend.attend(case.q_NHD, case.kv, case.layer, plan)
    count, pad = len(case.rows.positions_N), 5
    rows = dataclasses.replace(
        case.rows,
        positions_N=torch.cat((case.rows.positions_N, torch.zeros(pad, dtype=torch.int64))),
        padded_from=count,
    )
    q_NHD = torch.cat((case.q_NHD, torch.randn(pad, 4, 16)))
    got = backend.attend(q_NHD, case.kv, case.layer, backend.plan(rows, 8))
    assert torch.equal(got.out_NHD[:count], want.out_NHD)
    assert torch.isfinite(got.out_NHD).all()


def test_fragments_of_disjoint_contexts_merge():
    """A context cut in two at a page border and attended as two fragments equals the whole."""
    backend, layer, page = TorchAttention(), LAYERS["full"], 8
    case = make_case(layer, [(3, 40), (1, 33)], page)
    whole = backend.attend(case.q_NHD, case.kv, layer, backend.plan(case.rows, page))
    head = dataclasses.replace(case.rows, kv_lens=[16, 16])
    tail = dataclasses.replace(
        case.rows,
        positions_N=case.rows.positions_N - 16,
        block_table_SB=case.rows.block_table_SB[:, 2:],
        kv_lens=[24, 17],
    )
    parts = [backend.attend(case.q_NHD, case.kv, layer, backend.plan(rows, page)) for rows in (head, tail)]
    merged = merge(parts)
    torch.testing.assert_close(merged.out_NHD, whole.out_NHD, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(merged.lse_NH, whole.lse_NH, atol=2e-6, rtol=1e-5)


def test_registry_gives_reasons(monkeypatch):
    need = AttnNeed("cpu", torch.float32, "raw", (LAYERS["full"],))
    assert choose_backend("auto", need).name == "torch"
    invariant = dataclasses.replace(need, batch_invariant=True)
    assert choose_backend("auto", invariant).name == "invariant"
    assert choose_backend("torch", invariant).name == "invariant"
    assert "needs 'invariant'" in TorchAttention.refusal(invariant)
    monkeypatch.setattr(TorchAttention, "refusal", lambda need: "it is Sunday")
    with pytest.raises(ConfigError, match=r"model\.attention: native: .*; torch: it is Sunday"):
        choose_backend("auto", need)
    with pytest.raises(ConfigError, match=r"expected one of torch, .*, got 'flash'"):
        backend_class("flash")


@pytest.mark.parametrize("threads", [1, 3])
def test_invariant_backend_does_not_see_chunks_or_company(threads):
    """Bit for bit, also where three threads cut the elementwise work at odd places."""
    backend, page = InvariantAttention(), 8
    torch.set_num_threads(threads)
    try:
        for layer in LAYERS.values():
            case = make_case(layer, [(1, 30), (150, 150), (5, 90)], page, seed=7)
            whole = backend.attend(case.q_NHD, case.kv, layer, backend.plan(case.rows, page))
            start = 0
            for n in (7, 1, 64, 78):
                rows = dataclasses.replace(
                    case.rows,
                    positions_N=torch.arange(start, start + n),
                    block_table_SB=case.rows.block_table_SB[1:2],
                    q_lens=[n],
                    kv_lens=[start + n],
                )
                mine = slice(1 + start, 1 + start + n)
                part = backend.attend(case.q_NHD[mine], case.kv, layer, backend.plan(rows, page))
                assert torch.equal(part.out_NHD, whole.out_NHD[mine])
                assert torch.equal(part.lse_NH, whole.lse_NH[mine])
                start += n
    finally:
        torch.set_num_threads(1)
