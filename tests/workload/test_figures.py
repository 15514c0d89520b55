"""Histogram, fairness, stability: the parts under the collector."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.workload.metrics.fairness import jain, service_difference, spread
from penstock.workload.metrics.histogram import LogHistogram
from penstock.workload.metrics.percentiles import percentile
from penstock.workload.metrics.slo import effective
from penstock.workload.metrics.stability import unstable


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=200), st.floats(0.1, 100))
def test_histogram_percentiles_are_within_one_per_cent(samples, percent):
    made = LogHistogram()
    made.add(np.array(samples))
    assert made.percentile(percent) == pytest.approx(percentile(samples, percent), rel=0.0101)


def test_histogram_keeps_moments_and_extremes_exactly():
    samples = np.array([0.0, 0.1, 0.2, 3.0, 1e7])
    made = LogHistogram()
    made.add(samples[:2])
    made.add(samples[2:])
    figures = made.summarise("itl", [100])
    assert figures["mean_itl_ms"] == pytest.approx(samples.mean() * 1000)
    assert figures["std_itl_ms"] == pytest.approx(samples.std() * 1000)
    assert figures["p100_itl_ms"] <= 1e10
    assert made.percentile(1) == 0.0


def test_jain():
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([0.0, 0.0]) == 1.0


def test_service_is_spread_evenly_and_compared_by_windows():
    service = {0: {}, 1: {}}
    spread(service[0], 5.0, 25.0, 40.0, 10.0)  # 2 a second
    spread(service[1], 12.0, 13.0, 7.0, 10.0)
    assert service == {0: {0: 10.0, 1: 20.0, 2: 10.0}, 1: {1: 7.0}}
    assert service_difference(service, 1) == [10.0, 13.0, 10.0]
    assert service_difference(service, 2) == [23.0, 23.0]
    assert service_difference(service, 60) == [33.0]
    assert service_difference(service, 1, tenants=[0]) == []


def test_effective_requests_keep_up_with_the_reader():
    assert effective(0.0, [1.0], 512, 2.0)
    assert not effective(0.0, [1.01], 512, 2.0)
    assert effective(0.0, [0.5, 1.0, 1.5], 512, 2.0)
    assert not effective(0.0, [0.5, 1.0, 1.6], 512, 2.0)
    # One stall after fast tokens: the average .1 + .1 (1 - .1) = .19 stays below 1/4.
    assert effective(0.0, [0.1, 0.2, 1.2], 512, 4.0)


def queue(load, count, seed):
    """Departures of an M/M/1 queue."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / load, count))
    free, ends = 0.0, []
    for arrival, service in zip(arrivals, rng.exponential(1.0, count), strict=True):
        free = max(free, arrival) + service
        ends.append(free)
    return arrivals, np.array(ends)


def test_overload_is_unstable_and_light_load_is_not():
    assert sum(unstable(*queue(1.3, 2000, seed)) for seed in range(20)) >= 19
    assert sum(unstable(*queue(0.7, 2000, seed)) for seed in range(40)) <= 2


def test_requests_that_never_end_grow_the_backlog():
    arrivals = np.arange(100.0)
    assert unstable(arrivals, np.array([]))
    assert not unstable(arrivals, arrivals + 3.0)
    assert not unstable(arrivals[:10], np.array([]))


def test_percentile_of_infinity():
    assert percentile([1.0, math.inf], 50) == 1.0
