"""Lengths and arrivals: deterministic by seed and of the distribution they claim."""

import math

import numpy as np
import pytest

from penstock.core.errors import ConfigError
from penstock.workload.arrivals import gamma_arrivals, replay
from penstock.workload.lengths import parse_lengths


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_have_the_mean_and_variation_they_claim(burstiness):
    gaps = np.diff(gamma_arrivals(100_000, 5.0, burstiness, rng()))
    assert gaps.mean() == pytest.approx(1 / 5, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1 / math.sqrt(burstiness), rel=0.05)


def test_poisson_gaps_are_exponential():
    """Kolmogorov-Smirnov distance to 1 - exp(-rate t); 1.63 / sqrt(n) is the 1 % critical value."""
    gaps = np.sort(np.diff(gamma_arrivals(20_001, 2.0, 1.0, rng(3))))
    empirical = np.arange(1, len(gaps) + 1) / len(gaps)
    distance = np.abs(empirical - (1 - np.exp(-2.0 * gaps))).max()
    assert distance < 1.63 / math.sqrt(len(gaps))


def test_arrivals_begin_at_zero_ascend_and_repeat():
    due = gamma_arrivals(50, 3.0, 0.5, rng(7))
    assert due[0] == 0
    assert due == sorted(due)
    assert due == gamma_arrivals(50, 3.0, 0.5, rng(7))
    assert due != gamma_arrivals(50, 3.0, 0.5, rng(8))


def test_rate_only_rescales_the_pattern():
    slow, fast = gamma_arrivals(50, 1.0, 1.0, rng()), gamma_arrivals(50, 4.0, 1.0, rng())
    assert fast == pytest.approx([time / 4 for time in slow])


def test_infinite_rate_is_all_at_once():
    assert gamma_arrivals(3, math.inf, 1.0, rng()) == [0.0, 0.0, 0.0]


def test_replay_shifts_and_speeds_up():
    assert replay([5.0, 7.0, 11.0], 2.0) == [0.0, 1.0, 3.0]


def test_fixed_lengths():
    assert parse_lengths("128", "--input-len").sample(rng(), 3) == [128, 128, 128]


def test_uniform_lengths_reach_both_ends_evenly():
    drawn = parse_lengths("uniform:3:6", "--input-len").sample(rng(), 40_000)
    counts = np.bincount(drawn)[3:]
    assert set(drawn) == {3, 4, 5, 6}
    assert counts / 40_000 == pytest.approx([0.25] * 4, abs=0.01)


def test_lognormal_lengths_keep_mean_and_spread():
    drawn = np.array(parse_lengths("lognormal:200:0.8", "--input-len").sample(rng(), 100_000))
    assert drawn.mean() == pytest.approx(200, rel=0.02)
    assert np.log(drawn).std() == pytest.approx(0.8, rel=0.02)
    assert drawn.min() >= 1


def test_lengths_are_clipped_and_repeat():
    lengths = parse_lengths("lognormal:200:1.5", "--input-len", longest=300)
    first, second = lengths.sample(rng(1), 1000), lengths.sample(rng(1), 1000)
    assert first == second
    assert max(first) == 300


BAD = "|x|0|-5|1.5|uniform:5|uniform:9:5|uniform:0:5|lognormal:0:1|lognormal:9:-1|1:2:3|inf"
BAD += "|normal:0:2|normal:9:-1|zipf:77|burstgpt:1.1:1|weibull:1:2"


@pytest.mark.parametrize("text", [*BAD.split("|"), "lognormal:nan:1"])
def test_bad_lengths_name_the_flag(text):
    with pytest.raises(ConfigError, match="--input-len: expected"):
        parse_lengths(text, "--input-len")
