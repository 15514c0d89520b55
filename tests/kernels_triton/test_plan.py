"""Tiles cover every row once, and splits every key, evenly: as planned on the host and on the device."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("triton")

from penstock.kernels.partial import Partial
from penstock.kernels.triton import attention
from penstock.kernels.triton.attention import TritonAttention
from penstock.kernels.triton.plan import GRAIN, MAX_SPLITS, MIN_SHARE, Geometry, Splitter, launch_of
from tests.kernels_triton.cases import check, make_case
from tests.kernels_triton.test_attention import DEVICE, attend, static

LENGTHS = st.lists(st.integers(1, 200_000), min_size=1, max_size=64)


@given(lengths=LENGTHS, heads=st.integers(1, 16), fixed=st.none() | st.integers(1, 9))
def test_splits_cover_the_longest_context(lengths, heads, fixed):
    share, splits = Splitter(132, fixed).share(sum(lengths) * heads, max(lengths))
    assert share % GRAIN == 0
    assert 1 <= splits <= MAX_SPLITS
    assert share * splits >= max(lengths)
    assert fixed is not None or share >= MIN_SHARE


def test_a_full_device_splits_nothing_but_the_long_tail():
    heads, processors = 8, 132
    splitter = Splitter(processors)
    assert splitter.share(256 * 1024 * heads, 1024)[1] == 1
    share, splits = splitter.share((255 * 1024 + 200_000) * heads, 200_000)
    assert share >= 1024
    assert splits >= 10


def test_a_lone_sequence_is_split_over_the_device():
    _, splits = Splitter(132).share(8 * 8192, 8192)
    assert 2 * 132 / 8 / 2 <= splits <= 2 * 132 / 8


def test_without_processors_nothing_is_split():
    assert Splitter(0).share(10**6, 10**6)[1] == 1


@given(lengths=LENGTHS, heads=st.integers(1, 16))
def test_the_device_decides_like_the_host(lengths, heads):
    splitter = Splitter(132)
    splits = splitter.static_splits(len(lengths) * heads, 131_072)
    share = int(splitter.static_share(torch.tensor(lengths, dtype=torch.int32), splits, heads))
    assert share % GRAIN == 0
    assert share * splits >= max(lengths)
    host, _ = splitter.share(sum(lengths) * heads, max(lengths))
    # The host may use more splits than a captured grid has, so its share may be smaller; never much larger.
    assert host <= share + GRAIN


@given(
    counts=st.lists(st.integers(1, 90), min_size=1, max_size=9),
    group=st.integers(1, 40),
    block_m=st.sampled_from([64, 128]),
)
def test_tiles_cover_every_row_once(counts, group, block_m):
    sequences, first = [], 0
    for s, count in enumerate(counts):
        sequences.append((s, first, count, count + s))
        first += count
    launch = launch_of(sequences, block_m, Geometry(group, 1, None), Splitter(0), torch.device("cpu"))
    seen = [
        (s, row)
        for s, start, rows, kv_len, _ in launch.tiles_T5.tolist()
        for row in range(start, start + rows)
        if kv_len == counts[s] + s
    ]
    assert seen == [(s, start + i) for s, start, count, _ in sequences for i in range(count)]
    assert launch.tiles_T5[:, 2].max() == launch.rows_per_tile <= block_m // group


@pytest.mark.parametrize("window", [None, 400])
def test_uneven_batches_with_automatic_splits(window, monkeypatch):
    monkeypatch.setattr(attention, "_processors", lambda device: 2)
    case = make_case([1, 1, 1], [700, 3, 90], heads=2, kv_heads=1, window=window, device=DEVICE)
    backend = TritonAttention()
    plan = backend.plan(case.rows, case.page)
    check(backend.attend(case.q_NHD, case.kv, case.layer, plan), case)
    assert plan.launches[Geometry.of(case.layer)][0].splits > 1
    rows = static(case, bucket=4)
    q_NHD = torch.cat([case.q_NHD, case.q_NHD[:1]])
    plan = backend.plan(rows, case.page)
    part = backend.attend(q_NHD, case.kv, case.layer, plan)
    check(Partial(part.out_NHD[:3], part.lse_NH[:3]), case)
    assert plan.launches[Geometry.of(case.layer)][0].splits > 1
    assert part.out_NHD[3].abs().max() == 0


def test_layers_of_one_geometry_share_their_tiles():
    case = make_case([1, 5], [20, 30], device=DEVICE)
    backend = TritonAttention()
    plan = backend.plan(case.rows, case.page)
    first = backend.attend(case.q_NHD, case.kv, case.layer, plan)
    (launches,) = plan.launches.values()
    again = backend.attend(case.q_NHD, case.kv, case.layer, plan)
    assert plan.launches[Geometry.of(case.layer)] is launches
    assert torch.equal(first.out_NHD, again.out_NHD)
    assert torch.equal(first.out_NHD, attend(case).out_NHD)
