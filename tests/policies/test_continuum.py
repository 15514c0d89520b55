"""Lifetimes from tool times: the rule itself, what is learnt, and what the schedules come to."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.core.request import Turn
from penstock.core.sequence import Sequence
from penstock.policies.parse import parse_policy
from penstock.policies.retain.lifetimes import TurnCorrelation, Window, best_lifetime, prior_lifetime
from penstock.policies.retain.reload import ReloadFit, reload_seconds
from penstock.testing.builders import make_request
from penstock.testing.conformance import FixedView

TIMES = st.lists(st.floats(0, 50, allow_nan=False).map(lambda x: round(x, 2)), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(TIMES.map(sorted), st.floats(0, 60))
def test_lifetime_is_the_best_of_all_candidates(times, benefit):
    def gain(t, expected):
        held = sum(min(d, t) for d in times) / len(times) if expected else t
        return sum(d <= t for d in times) / len(times) * benefit - held

    for expected in (False, True):
        found = best_lifetime(times, benefit, expected=expected)
        gains = {t: gain(t, expected) for t in (0.0, *times)}
        assert found in gains
        assert gains[found] == pytest.approx(max(gains.values()), abs=1e-6)


def test_ties_go_to_the_shorter_lifetime():
    assert best_lifetime([1.0, 2.0], 2.0) == 0.0
    assert best_lifetime([1.0, 3.0], 4.0) == 1.0


def test_prior_is_the_logarithm_of_the_benefit():
    assert [prior_lifetime(b) for b in (0.5, 1.0)] == [0.0, 0.0]
    for benefit in (2.0, 4.0, 20.0):
        assert prior_lifetime(benefit) == pytest.approx(math.log(benefit))
        grid = np.linspace(0, 10, 100001)
        assert grid[np.argmax((1 - np.exp(-grid)) * benefit - grid)] == pytest.approx(
            math.log(benefit), abs=1e-3
        )
    assert 5 < prior_lifetime(2.0, expected=True) < 10


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 20))
def test_eta_is_the_correlation_over_the_window(turns, size):
    found = TurnCorrelation(size)
    for n in turns:
        found.add(n)
    pairs = np.array([(k, n - k) for n in turns[-size:] for k in range(1, n + 1)], dtype=float)
    if len(pairs) < 2 or pairs.std(axis=0).min() < 1e-9:
        assert found.eta() == 1.0
    else:
        assert found.eta() == pytest.approx(min(1, max(0, -np.corrcoef(pairs.T)[0, 1])), abs=1e-6)


def test_window_forgets_the_oldest():
    window = Window(3)
    for seconds in (5.0, 1.0, 4.0, 2.0):
        window.add(seconds)
    assert list(window.sorted) == [1.0, 2.0, 4.0] and window.seen == 4


def test_reload_is_fitted_or_asked():
    fit = ReloadFit(64)
    assert fit.seconds(100) == 0.0
    for n in range(32):
        tokens = 50 + 37 * n
        fit.start(n, tokens, 10.0)
        fit.stop(n, 10.0 + 1e-3 * tokens + 1e-7 * tokens**2)
        fit.stop(n, 99.0)
    assert fit.seconds(1000) == pytest.approx(1.1, rel=0.02)

    class PerToken:
        def step(self, shape):
            return 0.5 + shape.tokens

    assert reload_seconds(PerToken(), 100, 40) == 3 * 0.5 + 100


class World:
    """Feeds a policy the lives of sequences without an engine."""

    def __init__(self, policy):
        self.policy, self.count = policy, 0
        self.view = FixedView(page_size=4, token_budget=64, cost=self)
        policy.bind(self.view)

    def step(self, shape):
        return 0.0

    def turn(self, program, arrival, end, *, tool="t", last=False, cached=0, context=40, waits=0.0):
        request = make_request(
            f"r{self.count}",
            context,
            arrival=arrival,
            program=program,
            turn=Turn(tool=tool, last=last),
        )
        self.count += 1
        seq = Sequence(request, self.count, 4096)
        self.policy.on_arrive(seq, arrival)
        seq.computed = cached
        self.policy.on_admit(seq, arrival + waits)
        seq.computed = context
        seconds = self.policy.seconds(seq, self.view)
        self.policy.on_finish(seq, end, True)
        return seconds


def test_continuum_goes_from_prior_to_all_tools_to_the_tool():
    world = World(parse_policy("retain", "continuum"))
    world.turn("a", 0.0, 1.0)
    world.turn("a", 2.0, 3.0, cached=0, waits=4.0)  # evicted, and waited 4 s
    assert world.turn("b", 5.0, 6.0) == pytest.approx(math.log(4.0))
    assert world.turn("b", 8.0, 9.0, cached=40, waits=9.0, last=True) == 0.0, "found in place: no evidence"
    for n in range(101):
        world.turn(f"p{n}", 10.0, 11.0)
        world.turn(f"p{n}", 11.5, 12.0, tool=None, last=True, cached=40)
    assert world.turn("c", 20.0, 21.0) == 0.5
    assert world.turn("c", 22.0, 23.0, tool="never seen", cached=40) == 0.5, "all tools together"
    assert len(world.policy._programs) == 2, "programs that ended are forgotten"


def test_preview_pins_quick_tools_for_the_threshold():
    world = World(parse_policy("retain", "continuum-preview"))
    assert world.turn("a", 0.0, 1.0) == 2.0
    assert world.turn("a", 2.0, 3.0) == 2.0
    world.turn("a", 9.0, 10.0, tool="slow")
    assert world.turn("a", 11.0, 12.0) == 0.0, "means of 1 and 6 s"
    assert world.turn("b", 13.0, 14.0, last=True) == 0.0


@pytest.mark.parametrize(
    "text", ["ttl", "ttl(fcfs)", "continuum(0)", "continuum(cost=free)", "continuum-preview(0s)"]
)
def test_arguments_that_make_no_sense_are_refused(text):
    with pytest.raises(ConfigError):
        parse_policy("retain", text)


def test_program_order_is_by_program_then_pins_then_preempted():
    order = parse_policy("order", "program-fcfs")
    pinned = {"c"}
    order.bind(FixedView(pinned=lambda seq: seq.spec.program in pinned))
    index, seqs = order.index(), {}
    for number, (program, arrival, preemptions) in enumerate(
        [("a", 3.0, 0), ("b", 1.0, 0), ("c", 9.0, 0), ("d", 20.0, 1)]
    ):
        seq = Sequence(make_request(f"r{number}", 5, program=program), number, 64)
        seq.program_arrival, seq.preemptions = arrival, preemptions
        index.add(seq)
        seqs[program] = seq
    assert [seq.spec.program for seq in index.candidates(0.0)] == ["d", "c", "b", "a"]
    pinned.clear()
    assert [seq.spec.program for seq in index.candidates(0.0)] == ["d", "b", "a", "c"]
    for seq in seqs.values():
        index.remove(seq)


def test_the_experiment_holds_when_quick():
    from penstock.reproduce.continuum import continuum_lifetime

    figures = continuum_lifetime(0, True)
    assert figures.pop("pins_given_up_in_one_request") > 0
    assert not any(value > 1e-9 for value in figures.values()), figures
