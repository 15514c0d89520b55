"""Learning-to-rank: who goes first, who is promoted when, and nobody idles beyond the bound."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.engine.core import EngineCore
from penstock.policies.order.ltr import LearnedRank
from penstock.policies.parse import parse_policy
from penstock.reproduce.idling import Audit, Load, draw, measure
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.conformance import check_order
from penstock.testing.fake_executor import FakeExecutor


def engine_of(order, slots=1, **changes):
    clock = ManualClock()
    spec = make_spec(slots=slots, blocks=512, max_model_len=256, **changes)
    scheduler = make_scheduler(spec, order=order, max_num_seqs=slots, max_tokens=512)
    return EngineCore(scheduler, FakeExecutor(spec, clock=clock), clock)


def finished(engine, steps=2000):
    order = []
    for _ in range(steps):
        if not engine.has_work():
            return order
        order += [out.request_id for out in engine.tick() if out.finish]
    raise AssertionError("the engine did not come to an end")


def ask(engine, name, length, score="same", prompt=4, **more):
    score = float(length) if score == "same" else score
    engine.submit(make_request(name, prompt, max_tokens=length, ignore_eos=True, length_score=score, **more))


@given(lengths=st.lists(st.integers(1, 30), min_size=2, max_size=12))
@settings(max_examples=40, deadline=None)
def test_with_true_lengths_and_one_slot_it_is_shortest_job_first(lengths):
    engine = engine_of("ltr(100000, 1)")
    for number, length in enumerate(lengths):
        ask(engine, f"{number}", length)
    ranked = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    assert finished(engine) == [str(i) for i in ranked]


@pytest.mark.parametrize("order", ["sjf", "srtf", "ltr"])
def test_oracles_and_ranks_agree_on_a_queue(order):
    engine = engine_of(order)
    for name, length in (("long", 20), ("short", 2), ("middle", 9)):
        ask(engine, name, length)
    assert finished(engine) == ["short", "middle", "long"]


def test_sjf_takes_the_limit_for_the_length_of_who_has_no_score():
    engine = engine_of("sjf")
    for name, length in (("long", 20), ("short", 2)):
        ask(engine, name, length, score=None)
    assert finished(engine) == ["short", "long"]


def test_who_has_no_score_stands_in_the_middle():
    engine = engine_of("ltr")
    for score in (1.0, 2.0, 3.0, 90.0, 95.0):
        ask(engine, f"s{score}", 3, score)
    ask(engine, "unknown", 3, None)
    order = finished(engine)
    assert order.index("s3.0") < order.index("unknown") < order.index("s90.0")


def test_a_shorter_newcomer_displaces_only_when_asked_to():
    for text, first in (("ltr", "long"), ("ltr(200, 10, displace=yes)", "short"), ("srtf", "short")):
        engine = engine_of(text)
        ask(engine, "long", 30)
        for _ in range(5):
            engine.tick()
        ask(engine, "short", 2)
        assert finished(engine)[0] == first, text


def test_of_equals_the_running_one_goes_on():
    engine = engine_of("ltr(200, 10, displace=yes)")
    ask(engine, "first", 10, 5.0)
    engine.tick()
    ask(engine, "second", 10, 5.0)
    assert finished(engine) == ["first", "second"]
    assert engine.stats().preemptions == 0


def test_a_starving_request_is_promoted_for_its_period_only():
    engine = engine_of("ltr(6, 3, displace=yes)")
    ask(engine, "worst", 8, 100.0)
    ran = []
    for step in range(40):
        ask(engine, f"n{step}", 4, 1.0)
        engine.fill()
        ran.append([seq.id for seq, _ in engine.scheduler.state.in_flight[0][1]])
        engine.land()
    turns = "".join("x" if "worst" in ids else "." for ids in ran)
    # The newcomers are not older than six steps before they are served or promoted themselves.
    assert "x" in turns[1:] and "xxxx" not in turns[1:]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_nobody_idles_beyond_the_bound(seed):
    found = measure(draw(seed), lambda load: Audit(load.patience, load.period, "yes"))
    assert found.excess <= 0


def test_the_measure_finds_starvation():
    load = Load(1, 5, 2, tuple(sorted([(0, 4, 40, 99.0), *((s, 4, 3, 1.0) for s in range(0, 200, 2))])))
    assert measure(load, lambda load: Audit(load.patience, load.period, "no")).excess > 0


def test_the_promoted_need_not_displace_to_claim_a_bound_in_a_busy_engine():
    check_order(lambda: parse_policy("order", "ltr(20, 5)"), starvation_bound=150)


@pytest.mark.parametrize(
    "text",
    ["priority > ltr", "per-tenant(ltr(20, 5))", "aged(ltr, 5s)", "ltr(20, 5, displace=yes)", "mlfq(4, 2s)"],
)
def test_it_composes(text):
    check_order(lambda: parse_policy("order", text))


@pytest.mark.parametrize(
    "text", ["ltr(0)", "ltr(10, 0)", "ltr(1, 1, displace=maybe)", "ltr > fcfs", "mlfq(0)"]
)
def test_arguments_that_make_no_sense_are_refused(text):
    with pytest.raises(ConfigError, match=r"schedule\.order"):
        parse_policy("order", text)


def test_ten_thousand_waiting_cost_a_step_next_to_nothing():
    """Counted in keys computed, not in seconds: a sort in every step would compute all of them again."""
    calls = 0

    class Counting(LearnedRank):
        def score(self, seq):
            nonlocal calls
            calls += 1
            return super().score(seq)

    engine = engine_of("ltr(100000, 1)", slots=2)
    state = engine.scheduler.state
    order = state.policies.order
    order.__class__ = Counting
    for number in range(10_000):
        ask(engine, f"{number}", 50, float(number % 977))
    calls, began = 0, time.perf_counter()
    for _ in range(40):
        engine.tick()
    assert calls < 40 * 100
    assert time.perf_counter() - began < 5


def test_it_forgets_who_ended():
    order = parse_policy("order", "ltr(2, 1)")
    engine = engine_of("ltr(2, 1)")
    order = engine.scheduler.state.policies.order
    for number in range(8):
        ask(engine, f"{number}", 3, float(number))
    engine.cancel("7")
    finished(engine)
    assert not order._scores and not order._last and not order._owed
