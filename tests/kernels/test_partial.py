"""Merging fragments over any partition of the keys is attention over all of them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kernels.partial import Partial, empty_partial, merge

torch.set_num_threads(1)


def _attend(score_NT, v_TD, keep_T):
    score = score_NT.masked_fill(~keep_T, float("-inf"))
    lse = torch.logsumexp(score, -1)
    weight = torch.exp(score - torch.where(lse == float("-inf"), 0.0, lse)[:, None])
    weight = torch.where(keep_T, weight, 0.0)
    return Partial((weight @ v_TD)[:, None].float(), lse[:, None].float())


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.integers(0, 3), min_size=1, max_size=24),
    st.sampled_from([0.1, 1.0, 30.0, 300.0]),
    st.integers(0, 2**31),
)
def test_any_partition_merges_to_the_whole(rows, owner_of_key, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    keys = len(owner_of_key)
    score = torch.randn(rows, keys, generator=generator, dtype=torch.float64) * spread
    v_TD = torch.randn(keys, 6, generator=generator, dtype=torch.float64)
    owner = torch.tensor(owner_of_key)
    # Fragments 0..3; those that own no key are empty.
    parts = [_attend(score, v_TD, owner == part) for part in range(4)]
    whole = _attend(score, v_TD, owner >= 0)
    merged = merge(parts)
    # The lse of a fragment is rounded to float32: half a unit of a large one moves its share by as much.
    finest = 2.0**-24 * whole.lse_NH.abs().max().item()
    close = {"atol": 2e-6 + 2 * finest * v_TD.abs().max().item(), "rtol": 1e-5}
    torch.testing.assert_close(merged.out_NHD, whole.out_NHD, **close)
    torch.testing.assert_close(merged.lse_NH, whole.lse_NH, atol=2e-5, rtol=1e-6)
    # Order does not matter beyond rounding, and merging in two stages equals merging at once.
    staged = merge([merge(parts[:2]), merge(parts[2:])])
    torch.testing.assert_close(staged.out_NHD, whole.out_NHD, **close)


def test_empty_fragments_weigh_nothing():
    part = Partial(torch.randn(3, 2, 4), torch.randn(3, 2))
    merged = merge([empty_partial(3, 2, 4), part, empty_partial(3, 2, 4)])
    torch.testing.assert_close(merged.out_NHD, part.out_NHD)
    torch.testing.assert_close(merged.lse_NH, part.lse_NH)
    nothing = merge([empty_partial(3, 2, 4), empty_partial(3, 2, 4)])
    assert torch.equal(nothing.out_NHD, torch.zeros(3, 2, 4))
    assert torch.all(nothing.lse_NH == float("-inf"))


def test_a_fragment_without_weight_cannot_poison():
    bad = Partial(torch.full((1, 1, 2), float("nan")), torch.full((1, 1), float("-inf")))
    good = Partial(torch.ones(1, 1, 2), torch.zeros(1, 1))
    assert torch.equal(merge([bad, good]).out_NHD, torch.ones(1, 1, 2))
