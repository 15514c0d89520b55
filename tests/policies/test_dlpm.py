"""DLPM and LPM: matches, deficits, refills; the bounds on small random worlds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.core.sequence import Sequence
from penstock.policies.order import dlpm, lpm_match
from penstock.policies.parse import parse_policy
from penstock.reproduce.dlpm import Watch, admissions
from penstock.reproduce.fairness import random_world
from penstock.testing.builders import make_request
from penstock.testing.conformance import check_order

NUMBERS = iter(range(1, 1 << 30))


class CacheView:
    """An engine's view that knows how much of each sequence is cached."""

    def __init__(self, cached):
        self.cached = cached
        self.asked = 0

    def cached_tokens(self, seq):
        self.asked += 1
        return self.cached.get(seq.id, 0)


def seq(tenant="a", prompt=10, **fields):
    number = next(NUMBERS)
    request = make_request(f"s{number}", prompt, tenant=tenant, arrival=float(number), **fields)
    return Sequence(request, number, 4096)


def waiting(order, seqs, cached=()):
    """Bind an order to a view and put sequences in its queue."""
    view = CacheView({one.id: tokens for one, tokens in zip(seqs, cached, strict=False)})
    for part in (order, *order.parts()):
        part.bind(view)
    index = order.index()
    for one in seqs:
        for part in (order, *order.parts()):
            part.on_arrive(one, 0.0)
        index.add(one)
    return index, view


def admit_all(order, index, most=100):
    """Admit candidates as long as there are any; return them."""
    got = []
    for one in index.candidates(0.0):
        index.remove(one)
        order.on_admit(one, 0.0)
        got.append(one)
        if len(got) == most:
            break
    return got


@pytest.mark.parametrize("text", ["dlpm(100)", "lpm(3)", "priority > dlpm > fcfs", "vtc > lpm"])
def test_variants_conform(text):
    check_order(lambda: parse_policy("order", text))


@pytest.mark.parametrize("text", ["dlpm(0)", "dlpm(quantum=much)", "dlpm(8000, 0)", "lpm(0)", "lpm(2.5)"])
def test_bad_arguments_are_refused(text):
    with pytest.raises(ConfigError):
        parse_policy("order", text)


def test_lpm_yields_the_longest_match_first_and_then_by_arrival():
    order = parse_policy("order", "lpm")
    seqs = [seq() for _ in range(4)]
    index, _ = waiting(order, seqs, [0, 8, 4, 8])
    assert list(index.candidates(0.0)) == [seqs[1], seqs[3], seqs[2], seqs[0]]


def test_only_the_window_is_looked_up():
    order = parse_policy("order", "lpm(2)")
    seqs = [seq() for _ in range(4)]
    index, view = waiting(order, seqs, [0, 8, 99, 99])
    assert list(index.candidates(0.0)) == [seqs[1], seqs[0], seqs[2], seqs[3]]
    assert view.asked == 2


def test_an_inner_order_decides_among_equal_matches():
    order = parse_policy("order", "lpm > priority")
    seqs = [seq(priority=5), seq(priority=1), seq(priority=9)]
    index, _ = waiting(order, seqs, [4, 4, 8])
    assert list(index.candidates(0.0)) == [seqs[2], seqs[1], seqs[0]]


def test_a_step_gives_up_after_so_many_misses():
    for text in ("lpm", "dlpm"):
        order = parse_policy("order", text)
        index, _ = waiting(order, [seq() for _ in range(lpm_match.MISSES + 9)])
        assert len(list(index.candidates(0.0))) == lpm_match.MISSES


def test_credit_limits_locality():
    order = parse_policy("order", "dlpm(15)")
    greedy, modest = [seq("a", 10) for _ in range(4)], [seq("b", 10)]
    index, _ = waiting(order, greedy + modest, [8, 8, 8, 8, 0])
    got = admit_all(order, index)
    # Refill: 15 each. a: 15, 5, -5; b gets its turn (15, 5), leaves; a is refilled: 10, 0; again: 15, 5.
    assert got == [greedy[0], greedy[1], modest[0], greedy[2], greedy[3]]
    assert order.deficits == {"a": -10.0 + 15, "b": 5.0}


def test_only_computed_prompt_tokens_and_landed_tokens_are_charged():
    order = parse_policy("order", "dlpm(100)")
    one = seq("a", 10)
    index, _ = waiting(order, [one])
    next(index.candidates(0.0))
    one.computed = one.planned = 8
    index.remove(one)
    order.on_admit(one, 0.0)
    assert order.deficits["a"] == 98
    order.on_tokens(one, 2, 0)
    order.on_tokens(one, 0, 1)
    assert order.deficits["a"] == 96
    one.preemptions = 1
    order.on_preempt(one, 0.0)
    order.on_admit(one, 0.0)
    assert order.deficits["a"] == 96


def test_no_refill_while_somebody_in_credit_waits_even_if_it_does_not_fit():
    order = parse_policy("order", "dlpm(50)")
    a, b = seq("a"), seq("b")
    index, _ = waiting(order, [a, b])
    order.deficits.update(a=10.0, b=-1.0)
    assert list(index.candidates(0.0)) == [a]
    assert order.deficits == {"a": 10.0, "b": -1.0}


def test_a_refill_reaches_idle_debtors_but_leaves_credit_alone():
    order = parse_policy("order", "dlpm(50)")
    index, _ = waiting(order, [seq("a")])
    idle = seq("idle")
    order.on_arrive(idle, 0.0)
    order.on_admit(idle, 0.0)
    order.deficits.update(a=0.0, idle=-70.0, rich=30.0)
    order._weights["rich"] = 1.0
    next(index.candidates(0.0))
    assert order.deficits == {"a": 50.0, "idle": -20.0, "rich": 30.0}


def test_deep_debt_never_idles_the_engine():
    order = parse_policy("order", "dlpm(10)")
    a, b = seq("a"), seq("b")
    index, _ = waiting(order, [a, b])
    order.deficits.update(a=-1000.0, b=-900.0)
    assert next(index.candidates(0.0)) is b


def test_weights_scale_the_quantum():
    order = parse_policy("order", "dlpm(10)")
    index, _ = waiting(order, [seq("a", weight=1.0), seq("b", weight=3.0)])
    next(index.candidates(0.0))
    assert order.deficits == {"a": 10.0, "b": 30.0}


def test_newcomers_start_without_credit_unless_credit_is_infinite():
    for text, start in (("dlpm", 0.0), ("dlpm(quantum=inf)", math.inf)):
        assert parse_policy("order", text).credit(seq()) == start


def test_tenants_without_debts_are_forgotten_when_there_are_many(monkeypatch):
    monkeypatch.setattr(dlpm, "KNOWN_TENANTS", 2)
    order = parse_policy("order", "dlpm(10)")
    index, _ = waiting(order, [seq("a")])
    order.deficits.update(b=3.0, c=-50.0)
    order._weights.update(b=1.0, c=1.0)
    next(index.candidates(0.0))
    assert order.deficits == {"a": 10.0, "c": -40.0}


@given(seed=st.integers(0, 10**6), quantum=st.integers(5, 1000))
@settings(max_examples=6, deadline=None)
def test_deficits_and_service_stay_within_the_theorems(seed, quantum):
    one = Watch(random_world(np.random.default_rng(seed), shared=True, seconds=60.0), quantum)
    assert -one.u < one.lowest <= one.highest <= quantum
    assert one.difference <= 1 and one.miscounted == 0 and one.outcome.preemptions == 0


@given(seed=st.integers(0, 10**6))
@settings(max_examples=4, deadline=None)
def test_an_infinite_quantum_is_longest_prefix_match(seed):
    world = random_world(np.random.default_rng(seed), shared=True, seconds=60.0)
    assert admissions(world, "lpm") == admissions(world, "dlpm(quantum=inf)")
