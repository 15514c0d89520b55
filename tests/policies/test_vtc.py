"""VTC and its variants: counters, lift, predictions, nesting; the theorem on small random worlds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.core.sequence import Sequence
from penstock.policies.order import vtc_ledger
from penstock.policies.order.vtc_ledger import Ledger
from penstock.policies.parse import parse_policy
from penstock.reproduce.fairness import Probe, play, random_world
from penstock.reproduce.vtc import Watch, comeback, overload, staircase
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.conformance import check_order

NUMBERS = iter(range(1, 1 << 30))


def seq(tenant, prompt=10, max_tokens=20, **fields):
    number = next(NUMBERS)
    fields = {"arrival": float(number)} | fields
    return Sequence(
        make_request(f"s{number}", prompt, max_tokens=max_tokens, tenant=tenant, **fields), number, 4096
    )


def arrive(order, *seqs):
    for one in seqs:
        order.on_arrive(one, 0.0)


def admit(order, *seqs):
    for one in seqs:
        order.on_admit(one, 0.0)


def generate(order, one, count):
    for _ in range(count):
        order.on_tokens(one, 0, 1)
        one.tokens.append(1)


def finish(order, one, running=True):
    order.on_finish(one, 0.0, running)


def drained(order, seqs):
    """The order in which the waiting would be admitted if all fitted."""
    index, out = order.index(), []
    for one in seqs:
        order.on_arrive(one, 0.0)
        index.add(one)
    for one in index.candidates(0.0):
        index.remove(one)
        order.on_admit(one, 0.0)
        out.append(one)
    return out


@pytest.mark.parametrize(
    "text",
    [
        "vtc(1, 2, lift=artifact, charge=extend)",
        "vtc(cost=profile)",
        "foothold(vtc)",
        "priority > vtc > fcfs",
    ],
)
def test_variants_conform(text):
    check_order(lambda: parse_policy("order", text))


@pytest.mark.parametrize(
    "text",
    ["vtc(lift=soon)", "vtc(0, 0)", "vtc(charge=all)", "vtc(cost=dear)", "foothold(3)", "lcf(1, 2, 3)"],
)
def test_bad_arguments_are_refused(text):
    with pytest.raises(ConfigError):
        parse_policy("order", text)


def test_prompt_is_charged_at_admission_and_tokens_as_they_land():
    order = parse_policy("order", "vtc")
    one = seq("a", prompt=10)
    arrive(order, one)
    assert order.ledger.counters["a"] == 0
    admit(order, one)
    assert order.ledger.counters["a"] == 10
    generate(order, one, 3)
    assert order.ledger.counters["a"] == 16


def test_recomputation_is_not_charged_again():
    order = parse_policy("order", "vtc")
    one = seq("a", prompt=10)
    arrive(order, one)
    admit(order, one)
    generate(order, one, 2)
    one.preemptions = 1
    order.on_preempt(one, 0.0)
    assert order.ledger.tenants.waiting == {"a": 1}
    admit(order, one)
    assert order.ledger.counters["a"] == 14
    assert order.ledger.tenants.waiting == {} and order.ledger.tenants.running == {"a": 1}


def test_cached_prompt_tokens_are_free_under_extend():
    for charge, units in (("prompt", 10), ("extend", 2)):
        order = parse_policy("order", f"vtc(charge={charge})")
        one = seq("a", prompt=10)
        arrive(order, one)
        one.computed = one.planned = 8
        admit(order, one)
        assert order.ledger.counters["a"] == units


def test_weights_scale_what_service_counts():
    order = parse_policy("order", "vtc")
    light, heavy = seq("a", weight=1.0), seq("b", weight=4.0)
    arrive(order, light, heavy)
    admit(order, light, heavy)
    assert order.ledger.counters == {"a": 10, "b": 2.5}


def test_profile_cost_grows_by_its_increments():
    order = parse_policy("order", "vtc(cost=profile)")
    one = seq("a", prompt=100)
    arrive(order, one)
    admit(order, one)
    generate(order, one, 7)
    assert order.ledger.counters["a"] == pytest.approx(
        0.21 * 100 + 0.1008 * 7 + 0.00399 * 700 + 0.003247 * 49 + 1.146
    )


def test_prediction_is_charged_ahead_and_settled():
    order = parse_policy("order", "vtc-predict")
    for length in (10, 20):
        one = seq("a")
        arrive(order, one)
        admit(order, one)
        generate(order, one, length)
        finish(order, one)
    # 10, then (4 * 10 + 20) / 5 = 12
    start = order.ledger.counters["a"]
    short, long = seq("a"), seq("a")
    arrive(order, short, long)
    admit(order, short)
    assert order.ledger.counters["a"] == start + 10 + 2 * 12
    generate(order, short, 5)
    assert order.ledger.counters["a"] == start + 10 + 2 * 12
    finish(order, short)
    assert order.ledger.counters["a"] == start + 10 + 2 * 5
    admit(order, long)
    assert order.predicted(long) == round((4 * 12 + 5) / 5)
    generate(order, long, 19)
    finish(order, long)
    assert order.ledger.counters["a"] == start + 20 + 2 * 24


def test_oracle_reads_the_score_and_a_cancelled_request_gets_the_rest_back():
    order = parse_policy("order", "vtc-oracle")
    one, unknown = seq("a", length_score=15.0), seq("b")
    arrive(order, one, unknown)
    admit(order, one, unknown)
    assert order.ledger.counters == {"a": 10 + 30, "b": 10}
    generate(order, one, 4)
    finish(order, one)
    assert order.ledger.counters["a"] == 10 + 8
    assert order.predicted(seq("a", max_tokens=6, length_score=1000.0)) == 6


def test_lift_to_the_least_of_those_with_work_waiting():
    for lift, expected in (("paper", 30.0), ("artifact", 30.0), ("none", 0.0)):
        ledger = Ledger(lift)
        b, c, a = seq("b"), seq("c"), seq("a")
        for one in (b, c):
            ledger.arrive(one)
        ledger.charge(b, 30)
        ledger.charge(c, 50)
        ledger.arrive(a)
        assert ledger.counters["a"] == expected


def test_lift_after_an_idle_system_is_to_whoever_left_last():
    for lift, expected in (("paper", 30.0), ("artifact", 0.0)):
        ledger = Ledger(lift)
        b = seq("b")
        ledger.arrive(b)
        ledger.admit(b)
        ledger.charge(b, 30)
        ledger.finish(b, True)
        ledger.arrive(seq("a"))
        assert ledger.counters == {"b": 30.0, "a": expected}


def test_counters_never_fall_on_return_and_survive_idleness():
    ledger = Ledger()
    a, b = seq("a"), seq("b")
    ledger.arrive(a)
    ledger.admit(a)
    ledger.charge(a, 100)
    ledger.finish(a, True)
    ledger.arrive(b)
    ledger.charge(b, 1)
    assert ledger.counters == {"a": 100, "b": 101}
    ledger.arrive(seq("a"))
    assert ledger.counters["a"] == 101


def test_rebase_keeps_differences_and_forgets_only_what_the_lift_restores(monkeypatch):
    monkeypatch.setattr(vtc_ledger, "REBASE_CHARGES", 5)
    monkeypatch.setattr(vtc_ledger, "KNOWN_TENANTS", 3)
    ledger = Ledger()
    for tenant, units in (("a", 10), ("b", 20), ("c", 40)):
        one = seq(tenant)
        ledger.arrive(one)
        ledger.charge(one, units)
        if tenant == "a":
            ledger.admit(one)
            ledger.finish(one, True)
    gone = seq("d")
    ledger.arrive(gone)
    ledger.admit(gone)
    ledger.finish(gone, True)
    one = seq("c")
    ledger.arrive(one)
    ledger.charge(one, 1)
    ledger.charge(one, 1)
    # c was lifted from 10 to 20 before its 40 were charged; a is idle below the floor; d left last.
    assert ledger.counters == {"b": 0, "c": ledger.counters["c"], "d": 0}
    ledger.arrive(seq("a"))
    assert ledger.counters["a"] == 0


def test_tenants_take_turns_by_what_they_were_charged():
    order = parse_policy("order", "vtc")
    seqs = [seq("a", 10), seq("a", 10), seq("a", 10), seq("b", 25), seq("b", 1)]
    got = drained(order, seqs)
    # a, b at 0: a first; b; then a (10), a (20), then b (25 < 30)
    assert [one.spec.tenant for one in got] == ["a", "b", "a", "a", "b"]


def test_inner_order_decides_within_a_tenant_only():
    order = parse_policy("order", "vtc > priority")
    seqs = [seq("a", priority=5), seq("a", priority=1), seq("b", priority=9)]
    vtc = order._parts[0]
    index = order.index()
    for one in seqs:
        vtc.on_arrive(one, 0.0)
        index.add(one)
    got = []
    for one in index.candidates(0.0):
        index.remove(one)
        vtc.on_admit(one, 0.0)
        got.append(one)
    assert got == [seqs[1], seqs[2], seqs[0]]


def test_nobody_passes_the_least_charged_tenant_even_if_its_inner_order_skips():
    order = parse_policy("order", "vtc > lpm")
    seqs = [seq("a"), seq("a"), seq("b")]
    index = order.index()
    for one in seqs:
        order._parts[0].on_arrive(one, 0.0)
        index.add(one)
    assert list(index.candidates(0.0)) == seqs[:2]  # neither was admitted, so b does not come up


def test_running_of_the_most_charged_tenant_gives_way_first():
    order = parse_policy("order", "vtc")
    a, b = seq("a", 10), seq("b", 30)
    arrive(order, b, a)
    admit(order, b, a)
    assert list(order.rank([b, a], 0.0)) == [a, b]


def scheduler(order, slots=2, **schedule):
    spec = make_spec(blocks=64, slots=slots, page_size=4, max_model_len=256)
    return make_scheduler(spec, max_tokens=64, order=order, **schedule)


def test_foothold_takes_a_place_from_a_tenant_with_several():
    s = scheduler("foothold(vtc)")
    for number in range(3):
        s.submit(make_request(f"a{number}", 4, max_tokens=9, tenant="a"), 0.0)
    s.plan(0.0)
    assert {one.id for one in s.state.running} == {"a0", "a1"}
    s.submit(make_request("b0", 4, max_tokens=9, tenant="b"), 1.0)
    s.submit(make_request("b1", 4, max_tokens=9, tenant="b"), 1.0)
    s.abandon(1, "not run here", 1.0)
    s.state.suspects.clear()
    s.plan(2.0)
    assert {one.id for one in s.state.running} == {"a0", "b0"}  # the newer of a's, and no second for b


def test_foothold_leaves_the_last_place_of_everybody():
    s = scheduler("foothold(vtc)")
    for tenant in "abc":
        s.submit(make_request(tenant, 4, max_tokens=9, tenant=tenant), 0.0)
    s.plan(0.0)
    s.abandon(1, "not run here", 1.0)
    s.state.suspects.clear()
    s.plan(2.0)
    assert {one.id for one in s.state.running} == {"a", "b"} and s.state.counters.preemptions == 0


def test_allowance_puts_whoever_runs_nothing_first_within_limits():
    for allowance, first in ((0, "b"), (25, "a"), (5, "b")):
        order = parse_policy("order", f"vtc(allowance={allowance})")
        b, a = seq("b"), seq("a")
        index = order.index()
        arrive(order, b, a)
        order.ledger.charge(a, 20)
        admit(order, seq("b", prompt=1))
        for one in (b, a):
            index.add(one)
        assert next(index.candidates(0.0)).spec.tenant == first
    with pytest.raises(ConfigError):
        parse_policy("order", "vtc(allowance=much)")


@given(seed=st.integers(0, 10**6), allowance=st.integers(0, 2000))
@settings(max_examples=5, deadline=None)
def test_an_allowance_adds_to_the_bound(seed, allowance):
    world, probe, spread = random_world(np.random.default_rng(seed), seconds=100.0), Probe(), []
    order = f"vtc(allowance={allowance})"
    check = lambda engine: spread.append(spread_of(engine, probe))  # noqa: E731
    play(world, probe, check, seconds=500.0, order=order, reserve="final")
    assert probe.worst_difference <= 2 * (world.bounds.u + allowance)
    assert max(spread, default=0) <= world.bounds.u + allowance


def spread_of(engine, probe):
    counters = engine.scheduler.state.policies.order.ledger.counters
    waiting = [counters[tenant] for tenant in probe.backlogged()]
    return max(waiting) - min(waiting) if waiting else 0.0


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_service_differs_by_no_more_than_the_theorem_says(seed):
    world, probe, spread = random_world(np.random.default_rng(seed)), Probe(), []
    out = play(
        world,
        probe,
        lambda engine: spread.append(spread_of(engine, probe)),
        seconds=500.0,
        order="vtc",
        reserve="final",
    )
    assert probe.worst_difference <= 2 * world.bounds.u
    assert max(spread, default=0) <= world.bounds.u
    assert out.preemptions == 0


@pytest.mark.parametrize(
    ("world", "order", "reserve", "breaks"),
    [
        (overload, "fcfs", "final", True),
        (comeback, "lcf", "final", True),
        (comeback, "vtc", "final", False),
        (staircase, "vtc", "peak", True),
        (staircase, "vtc", "final", False),
    ],
)
def test_what_lacks_a_part_of_the_theorem_breaks_its_bound(world, order, reserve, breaks):
    assert (Watch(world(), order=order, reserve=reserve).difference > 1) == breaks
