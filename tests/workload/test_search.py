"""Searches over toys whose goodput is known."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest
from penstock.workload.search import Outcome, attainment_curve, over_seeds, search_rate, search_scale


def deterministic_queue(service, ttft, requests=200):
    """A D/D/1 queue: even arrivals, even service; returns run(rate)."""

    def run(rate):
        made, free = Collector(), 0.0
        events = []
        for i in range(requests):
            arrival = i / rate
            free = max(free, arrival) + service
            events.append((str(i), arrival, free))
        for name, arrival, end in events:
            made.arrived(
                TraceRequest(id=name, arrival=arrival, prompt=(Span(1, 1),), output_tokens=1), arrival
            )
            made.tokens(name, 1, end)
            made.finished(name, end, True)
        figures = made.summary({"ttft": ttft})
        return Outcome(figures["slo_attainment"], bool(figures["unstable"]))

    return run


@pytest.mark.parametrize("service", [0.25, 0.5, 2.0])
def test_goodput_of_a_deterministic_queue_is_exactly_its_service_rate(service):
    """Doubling meets 1/service, and every rate above it fails, so no bisection moves the answer."""
    found = search_rate(deterministic_queue(service, ttft=service * 1.0001), start=1 / 8)
    assert found.rate == 1 / service
    assert found.limit / found.rate <= 1 / (1 - 0.025)


def test_another_start_stays_within_the_tolerance():
    found = search_rate(deterministic_queue(0.3, ttft=0.3001), start=0.7)
    assert found.rate <= 1 / 0.3 <= found.limit
    assert (found.limit - found.rate) / found.limit <= 0.025


def test_an_unstable_run_fails_whatever_its_percentiles():
    """With an objective nobody can miss, only the growing backlog tells."""
    found = search_rate(deterministic_queue(0.5, ttft=1e9), start=0.25, highest=64)
    assert found.rate == pytest.approx(2.0, rel=0.05)
    assert any(probe.unstable and probe.attainment == 1.0 and not probe.ok for probe in found.probes)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.002, 1e5), st.floats(0.01, 1e3), st.floats(0.01, 0.5))
def test_search_brackets_any_threshold_and_is_monotone(threshold, start, tolerance):
    tried = []

    def run(rate):
        tried.append(rate)
        return Outcome(1.0 if rate <= threshold else 0.0)

    found = search_rate(run, start, tolerance=tolerance)
    assert found.rate <= threshold < found.limit
    assert (found.limit - found.rate) / found.limit <= tolerance
    assert [probe.rate for probe in found.probes] == sorted(tried)
    oks = [probe.ok for probe in found.probes]
    assert oks == sorted(oks, reverse=True)
    assert len(set(tried)) == len(tried)


def test_search_gives_up_at_its_bounds():
    nothing = search_rate(lambda rate: Outcome(0.0), 1.0, lowest=0.1)
    assert (nothing.rate, len(nothing.probes)) == (0.0, 4)
    everything = search_rate(lambda rate: Outcome(1.0), 1.0, highest=10)
    assert (everything.rate, everything.limit) == (8.0, math.inf)
    with pytest.raises(ConfigError, match=r"search\.start"):
        search_rate(lambda rate: Outcome(1.0), 0.0)
    with pytest.raises(ConfigError, match=r"search\.tolerance"):
        search_rate(lambda rate: Outcome(1.0), 1.0, tolerance=0.0)


def test_scale_curve_and_seeds():
    found = search_scale(lambda factor: Outcome(1.0 if factor >= 0.4 else 0.5))
    assert 0.4 <= 1 / found.rate <= 0.4 / (1 - 0.025)
    curve = attainment_curve(lambda rate: Outcome(1 - rate / 10), [0.5, 1.0, 2.0])
    assert [(p.rate, p.ok) for p in curve] == [(0.5, True), (1.0, True), (2.0, False)]
    limits = [3.0, 1.0, 2.0]
    found_by = over_seeds(
        lambda seed: search_rate(lambda rate: Outcome(float(rate <= limits[seed]))), range(3)
    )
    assert found_by[1] <= found_by[0] <= found_by[2]
    assert found_by == pytest.approx((2.0, 1.0, 3.0), rel=0.03)
