"""Lengths and arrivals: deterministic by seed and of the distribution they claim."""

import itertools
import math

import numpy as np
import pytest

from penstock.core.errors import ConfigError
from penstock.workload.arrivals import Diurnal, Gamma, OnOff, Ramp, Windows, gamma_arrivals, replay
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


def first(arrivals, count, seed=0):
    return np.fromiter(itertools.islice(arrivals.times(rng(seed)), count), float)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0, 4.0])
def test_windowed_and_gamma_gaps_have_the_variation_of_their_shape(alpha):
    """Within 5 % of 1 / sqrt(alpha) over 1e5 gaps."""
    for arrivals in (Windows((alpha,), (2.0,)), Gamma(2.0, 1 / math.sqrt(alpha))):
        gaps = np.diff(first(arrivals, 100_001, seed=5))
        assert gaps.std() / gaps.mean() == pytest.approx(1 / math.sqrt(alpha), rel=0.05)


def test_windows_take_their_own_parameters_and_fall_back_at_the_end():
    """60 s at 8 requests/s, 60 s at 1 request/s, then Gamma(0.5, scale 2), one request a second."""
    times = first(Windows((0.25, 4.0), (2.0, 4.0), repeat=False), 4000, seed=2)
    assert 350 < (times < 60).sum() < 620
    assert 45 < ((times > 60) & (times < 120)).sum() < 75
    late = np.diff(times[times > 120])
    assert late.mean() == pytest.approx(1.0, rel=0.1)
    assert late.std() / late.mean() == pytest.approx(math.sqrt(2), rel=0.1)


def test_speed_scales_windows_exactly():
    slow, fast = (
        first(Windows((0.25, 1.0), (2.0, 9.0)), 3000),
        first(Windows((0.25, 1.0), (2.0, 9.0), speed=4.0), 3000),
    )
    assert (fast * 4).tolist() == slow.tolist()


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 3.0])
def test_rate_scales_gamma_exactly_across_blocks(cv):
    slow, fast = first(Gamma(1.0, cv), 9000), first(Gamma(4.0, cv), 9000)
    assert (fast * 4).tolist() == slow.tolist()
    assert slow[0] == 0
    assert (np.diff(slow) >= 0).all()


def test_ramp_and_on_off_follow_their_schedule():
    rising = first(Ramp(1.0, 5.0, 100.0, cv=0.0), 400)
    assert (rising <= 100).sum() == 301  # (1 + 5) / 2 * 100, and the one at 0
    assert (rising <= 50).sum() == 101  # 1 * 50 + 4 * 50^2 / 200
    assert np.diff(rising[-50:]) == pytest.approx(0.2)
    assert first(Ramp(5.0, 5.0, 10.0, cv=0.0), 100) == pytest.approx(np.arange(100) / 5)
    pausing = first(OnOff(2.0, 10.0, 5.0, cv=0.0), 60)
    assert pausing[:20] == pytest.approx(np.arange(20) / 2)
    assert pausing[20] == 15.0
    assert ((pausing % 15) < 10).all()


def test_diurnal_rate_is_the_one_it_claims():
    times = first(Diurnal(10.0, 0.5, 100.0, cv=0.0), 2001)
    assert times[-1] == pytest.approx(200.0, abs=0.1)
    quarter = (times[:-1] < 25).sum()
    assert quarter == pytest.approx(1000 * (0.25 - 0.5 / (2 * math.pi)), abs=2)


@pytest.mark.parametrize("mean", [128, 256, 512, 1024])
def test_llumnix_lengths(mean):
    drawn = np.array(parse_lengths(f"zipf:{mean}", "--x").sample(rng(), 200_000))
    assert drawn.max() <= 6144
    assert drawn.min() >= 1
    assert drawn.mean() == pytest.approx(mean, rel=0.12)  # the cap takes a little of the tail
    assert np.median(drawn) < mean / 2


def test_burstgpt_lengths_are_a_cut_power_law():
    drawn = np.array(parse_lengths("burstgpt:1.1:1000", "--x").sample(rng(), 100_000))
    assert drawn.max() < 1000
    redrawn = rng(1).zipf(1.1, 400_000)
    redrawn = redrawn[redrawn < 1000]
    for point in (1, 10, 100):
        assert (drawn <= point).mean() == pytest.approx((redrawn <= point).mean(), abs=0.01)


def test_normal_lengths_are_whole_and_positive():
    drawn = np.array(parse_lengths("normal:60:18", "--x").sample(rng(), 50_000))
    assert drawn.mean() == pytest.approx(60, rel=0.01)
    assert drawn.std() == pytest.approx(18, rel=0.02)
    assert drawn.min() >= 1
