"""The Triton backend against attention row by row in float64; in Triton's interpreter without a GPU."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("triton")

from penstock.kernels.attention.base import AttentionBackend, AttnNeed, WritingBackend
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import Partial, merge
from penstock.kernels.rows import StepRows
from penstock.kernels.triton.attention import TritonAttention, TritonInvariantAttention
from penstock.kernels.triton.plan import StaticRows
from tests.kernels_triton.cases import check, make_case, solve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def attend(case, backend=None):
    backend = backend or TritonAttention()
    return backend.attend(case.q_NHD, case.kv, case.layer, backend.plan(case.rows, case.page))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("codec", ["raw", "int8"])
@pytest.mark.parametrize("extra", [{}, {"window": 20}, {"softcap": 8.0}, {"window": 7, "softcap": 3.0}])
def test_mixed_batch(dtype, codec, extra):
    case = make_case([1, 40, 1, 3], [150, 90, 5, 3], dtype=dtype, codec=codec, device=DEVICE, **extra)
    check(attend(case), case)


@pytest.mark.parametrize("head_dim", [16, 40, 64, 80, 96, 128, 256])
@pytest.mark.parametrize("page", [16, 32, 64])
def test_head_dims_and_pages(head_dim, page):
    case = make_case([1, 9], [75, 70], head_dim=head_dim, page=page, device=DEVICE)
    check(attend(case), case)


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (7, 1), (12, 2), (20, 1)])
def test_groups(heads, kv_heads):
    case = make_case([1, 30, 2], [66, 33, 20], heads=heads, kv_heads=kv_heads, device=DEVICE)
    check(attend(case), case)


SHAPES = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 100)), min_size=1, max_size=3)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shapes=SHAPES,
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 4),
    head_dim=st.sampled_from([8, 16, 24, 64, 80]),
    page=st.sampled_from([1, 8, 16, 48, 64]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    codec=st.sampled_from(["raw", "int8"]),
    window=st.none() | st.integers(1, 90),
    softcap=st.none() | st.floats(1.0, 50.0),
    shift=st.integers(0, 5),
    splits=st.sampled_from([None, 1, 2, 3]),
    seed=st.integers(0, 2**31),
)
def test_any_shape(shapes, kv_heads, group, splits, **kwargs):
    q_lens = [q for q, _ in shapes]
    kv_lens = [q + more for q, more in shapes]
    case = make_case(q_lens, kv_lens, heads=kv_heads * group, kv_heads=kv_heads, device=DEVICE, **kwargs)
    check(attend(case, TritonAttention(splits)), case)


@pytest.mark.parametrize(("splits", "window"), [(2, None), (5, 100), (16, None)])
def test_splits_merge_exactly(splits, window):
    case = make_case([1, 1, 20], [300, 1, 260], heads=2, kv_heads=1, window=window, device=DEVICE)
    check(attend(case, TritonAttention(splits)), case)


def test_extreme_scores_stay_finite():
    case = make_case([1, 5], [80, 70], magnitude=30.0, device=DEVICE)
    check(attend(case), case)


def test_rows_without_keys_give_the_empty_fragment():
    case = make_case([1, 3], [40, 40], window=4, device=DEVICE)
    case.rows.kv_lens[:] = [10, 10]
    part = attend(case)
    assert torch.equal(part.out_NHD, torch.zeros_like(part.out_NHD))
    assert (part.lse_NH == float("-inf")).all()


def test_fragments_of_a_sequence_merge_to_the_whole():
    case = make_case([6], [100], device=DEVICE)
    whole = solve(case)
    page, table = case.page, case.rows.block_table_SB
    first = 64
    case.rows.kv_lens[0] = first
    head = attend(case)
    case.rows.kv_lens[0] = 100 - first
    case.rows.block_table_SB = table[:, first // page :].contiguous()
    case.rows.positions_N = case.rows.positions_N - first
    both = merge([head, attend(case)])
    assert torch.allclose(both.out_NHD.double().cpu(), whole[0], atol=2e-5)
    assert torch.allclose(both.lse_NH.double().cpu(), whole[1], atol=2e-5)


def test_padding_rows_are_finite_and_leave_the_rest_alone():
    case = make_case([4, 1, 1], [50, 40, 1], device=DEVICE)
    plain = attend(case)
    case.kv.planes["k"][case.rows.block_table_SB[2, 0]] = float("nan")
    case.rows.padded_from = 5
    padded = attend(case)
    assert torch.isfinite(padded.out_NHD).all()
    assert torch.equal(padded.out_NHD[:5], plain.out_NHD[:5])


def test_rows_beyond_all_sequences_are_finite():
    case = make_case([2, 1], [20, 30], device=DEVICE)
    case.q_NHD = torch.cat([case.q_NHD, case.q_NHD])
    case.rows.tokens_N = torch.zeros(6, dtype=torch.long, device=DEVICE)
    case.rows.padded_from = 3
    part = attend(case)
    assert torch.isfinite(part.out_NHD).all()
    assert part.out_NHD[3:].abs().max() == 0


def test_queries_may_be_a_slice_of_a_fused_projection():
    case = make_case([5, 1], [60, 61], device=DEVICE)
    n, heads, head_dim = case.q_NHD.shape
    fused = torch.zeros(n, heads * head_dim * 2, device=DEVICE)
    fused[:, : heads * head_dim] = case.q_NHD.flatten(1)
    case.q_NHD = fused[:, : heads * head_dim].view(n, heads, head_dim)
    assert case.q_NHD.stride(0) == 2 * heads * head_dim
    check(attend(case), case)


def static(case, bucket):
    """Copy a decode case into static buffers of ``bucket`` rows, padding included."""
    rows, count = case.rows, len(case.rows.q_lens)
    wide = case.rows.block_table_SB.shape[1] + 3
    table = torch.full((bucket, wide), 10**6, dtype=torch.int32, device=DEVICE)
    table[:count, : rows.block_table_SB.shape[1]] = rows.block_table_SB
    positions = torch.zeros(bucket, dtype=torch.long, device=DEVICE)
    positions[:count] = rows.positions_N
    kv_lens = torch.zeros(bucket, dtype=torch.int32, device=DEVICE)
    kv_lens[:count] = torch.tensor(rows.kv_lens)
    return StaticRows(
        tokens_N=torch.zeros(bucket, dtype=torch.long, device=DEVICE),
        positions_N=positions,
        kv_slots_N=torch.zeros(bucket, dtype=torch.long, device=DEVICE),
        block_table_SB=table,
        q_lens=[1] * bucket,
        kv_lens=[wide * case.page] * bucket,
        sample_rows_R=torch.zeros(0, dtype=torch.long, device=DEVICE),
        kv_lens_S=kv_lens,
    )


@pytest.mark.parametrize("splits", [None, 4])
@pytest.mark.parametrize("window", [None, 30])
def test_static_decode_reads_lengths_from_the_device(splits, window):
    case = make_case([1, 1, 1], [150, 1, 64], window=window, device=DEVICE)
    rows = static(case, bucket=4)
    q_NHD = torch.cat([case.q_NHD, case.q_NHD[:1]])
    backend = TritonAttention(splits)
    part = backend.attend(q_NHD, case.kv, case.layer, backend.plan(rows, case.page))
    check(Partial(part.out_NHD[:3], part.lse_NH[:3]), case)
    assert part.out_NHD[3].abs().max() == 0
    # The same rows object with other contents, as a replayed graph sees it: only tensors change.
    case.rows.kv_lens[0], case.rows.positions_N[0] = 70, 69
    rows.kv_lens_S[0], rows.positions_N[0] = 70, 69
    part = backend.attend(q_NHD, case.kv, case.layer, backend.plan(rows, case.page))
    check(Partial(part.out_NHD[:3], part.lse_NH[:3]), case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 50])
def test_invariant_backend_gives_the_same_bits_alone_in_a_chunk_and_in_a_decode_step(dtype, window):
    backend = TritonInvariantAttention()
    case = make_case([150], [150], dtype=dtype, window=window, device=DEVICE)
    whole = attend(case, backend)
    for first, count in ((0, 150), (149, 1), (100, 33), (64, 64)):
        rows = StepRows(
            tokens_N=case.rows.tokens_N[first : first + count],
            positions_N=case.rows.positions_N[first : first + count],
            kv_slots_N=case.rows.kv_slots_N[first : first + count],
            block_table_SB=case.rows.block_table_SB,
            q_lens=[count],
            kv_lens=[first + count],
            sample_rows_R=case.rows.sample_rows_R,
        )
        plan = backend.plan(rows, case.page)
        part = backend.attend(case.q_NHD[first : first + count], case.kv, case.layer, plan)
        assert torch.equal(part.out_NHD, whole.out_NHD[first : first + count])
        assert torch.equal(part.lse_NH, whole.lse_NH[first : first + count])


def test_it_is_an_attention_backend():
    assert isinstance(TritonAttention(), AttentionBackend)
    assert isinstance(TritonAttention(), WritingBackend)


def need(**kwargs):
    layer = LayerSpec(0, 4, 2, kwargs.pop("head_dim", 64), 0.125)
    base = {"device": DEVICE, "dtype": torch.float32, "codec": "raw", "layers": (layer,)}
    return AttnNeed(**(base | kwargs))


@pytest.mark.parametrize(
    ("kwargs", "field"),
    [
        ({"dtype": torch.float64}, "dtype"),
        ({"codec": "int4"}, "codec"),
        ({"batch_invariant": True}, "batch_invariant"),
        ({"head_dim": 512}, "head_dim"),
    ],
)
def test_refusals_name_the_field(kwargs, field):
    assert TritonAttention.refusal(need(**kwargs)).startswith(field)
    assert TritonAttention.refusal(need()) is None
    assert TritonInvariantAttention.refusal(need(batch_invariant=True)) is None


def test_another_layout_is_refused():
    case = make_case([1], [20], device=DEVICE)
    case.kv.planes["k"] = case.kv.planes["k"].transpose(1, 2).contiguous().transpose(1, 2)
    with pytest.raises(ValueError, match=r"^k: expected"):
        attend(case)
