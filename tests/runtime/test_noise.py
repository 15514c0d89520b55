"""The counter-based noise: fixed bits, uniform, independent across tokens, positions and seeds."""

import math

import numpy as np
import pytest
import torch

from penstock.runtime.sampler.noise import GOLDEN, gumbel, hash_bits, row_keys, uniform

torch.set_num_threads(1)


def splitmix(x):
    """The output function of SplitMix64 in plain integers."""
    x &= 2**64 - 1
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def keys(seeds, positions):
    seeds, positions = np.broadcast_arrays(np.array(seeds, np.uint64), np.array(positions, np.int64))
    return torch.from_numpy(row_keys(seeds, positions))[:, None]


def noise(seeds, positions, vocab):
    return uniform(keys(seeds, positions), torch.arange(vocab)[None])


def test_published_sequence():
    """First outputs of SplitMix64 started at 0, as printed in the reference implementations."""
    assert [hex(splitmix(GOLDEN * (n + 1))) for n in range(2)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]
    bits = hash_bits(torch.zeros(1, 1, dtype=torch.int64), torch.arange(2)[None])
    assert [hex(b % 2**64) for b in bits[0].tolist()] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4"]


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**64 - 1, 123456789])
def test_tensor_bits_equal_plain_integers(seed):
    for position in (0, 1, 131071):
        key = splitmix(splitmix(seed + GOLDEN) + (position + 1) * GOLDEN)
        ids = [0, 1, 7, 50_000, 262_143]
        got = hash_bits(keys([seed], [position]), torch.tensor(ids)[None])[0].tolist()
        assert [b % 2**64 for b in got] == [splitmix(key + (i + 1) * GOLDEN) for i in ids]


def test_noise_is_a_function_of_seed_position_and_id_alone():
    ids = torch.randperm(5000, generator=torch.Generator().manual_seed(1))
    whole = gumbel(keys([3, 4, 5], [10, 11, 12]), torch.arange(5000)[None])
    shuffled = gumbel(keys([5, 3], [12, 10]), ids[None])
    assert torch.equal(shuffled[0], whole[2][ids])
    assert torch.equal(shuffled[1], whole[0][ids])
    single = gumbel(keys([4], [11]), torch.tensor([[1234]]))
    assert single.item() == whole[1, 1234].item()


def chi_square(counts):
    expected = counts.sum() / counts.numel()
    return (((counts - expected) ** 2) / expected).sum().item()


def limit(freedom):
    """Quantile of chi-square that a right generator exceeds once in 10**6 (Wilson-Hilferty)."""
    return freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize(
    "sample",
    [
        lambda: noise([0], [0], 1 << 18),
        lambda: noise(range(4096), 7, 64),
        lambda: noise(42, range(4096), 64),
        lambda: noise(range(1 << 18), 0, 1),
        lambda: noise(42, range(1 << 18), 1),
    ],
    ids=["tokens", "seeds", "positions", "first token over seeds", "first token over positions"],
)
def test_uniform(sample):
    u = sample().flatten()
    assert u.min() > 0 and u.max() < 1
    for shift in (0, 8, 20):  # top bits and lower ones
        counts = torch.bincount(((u * 2**shift) % 1 * 256).long(), minlength=256).double()
        assert chi_square(counts) < limit(255)


@pytest.mark.parametrize("axis", ["token", "position", "seed", "far token", "bit of the seed"])
def test_neighbours_are_independent(axis):
    """Pairs (u of here, u of the neighbour) fill a 16 x 16 grid evenly."""
    n = 2048
    here = noise(np.arange(n), 5, 64)
    there = {
        "token": lambda: torch.roll(here, 1, 1),
        "far token": lambda: torch.roll(here, 32, 1),
        "position": lambda: noise(np.arange(n), 6, 64),
        "seed": lambda: torch.roll(here, 1, 0),
        "bit of the seed": lambda: noise(np.arange(n) + 2**40, 5, 64),
    }[axis]()
    cells = (here * 16).long() * 16 + (there * 16).long()
    counts = torch.bincount(cells.flatten(), minlength=256).double()
    assert chi_square(counts) < limit(255)


def test_every_seed_bit_flips_half_of_the_bits():
    flips = []
    for bit in range(63):
        a = hash_bits(keys([12345], [9]), torch.arange(256)[None])
        b = hash_bits(keys([12345 ^ (1 << bit)], [9]), torch.arange(256)[None])
        x = (a ^ b).numpy().view(np.uint64)
        flips.append(np.unpackbits(x.view(np.uint8)).mean())
    assert all(abs(f - 0.5) < 0.03 for f in flips), flips


def test_gumbel_moments_and_tail():
    g = gumbel(keys(range(64), 3), torch.arange(1 << 14)[None]).flatten()
    n = g.numel()
    assert g.mean().item() == pytest.approx(0.5772156649, abs=6 * 1.2825 / math.sqrt(n))
    assert g.var().item() == pytest.approx(math.pi**2 / 6, rel=0.02)
    assert torch.isfinite(g).all()
    for x in (-1.0, 0.0, 1.0, 3.0, 6.0):  # distribution function exp(-exp(-x)), within 6 sigma
        p = math.exp(-math.exp(-x))
        assert (g <= x).double().mean().item() == pytest.approx(p, abs=6 * math.sqrt(p * (1 - p) / n))


def test_extreme_bits_stay_finite():
    """The smallest and the largest uniform that the 52 bits can give."""
    for u in (2.0**-53, 1 - 2.0**-53):
        assert 0 < u < 1
        assert math.isfinite(-math.log(-math.log(u)))
