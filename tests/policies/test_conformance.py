"""Every built-in policy is held to the public conformance kit, and the kit finds broken ones."""

import random

import pytest

from penstock.policies.order.base import KeyOrder
from penstock.policies.parse import parse_policy
from penstock.policies.registry import names
from penstock.testing import conformance as kit

ARGUMENTS = {
    "aged": "aged(priority, 2s)",
    "foothold": "foothold(vtc)",
    "per-tenant": "per-tenant(fcfs)",
    "queue-bound": "queue-bound(4)",
    "rpm": "rpm(20)",
}
CHECKS = {
    "order": kit.check_order,
    "shape": kit.check_shape,
    "preempt": kit.check_preempt,
    "evict": kit.check_evict,
    "admit": kit.check_admit,
}
EVERY = [(slot, name) for slot in CHECKS for name in names(slot)]


@pytest.mark.parametrize(("slot", "name"), EVERY)
def test_built_in_policy_conforms(slot, name):
    CHECKS[slot](lambda: parse_policy(slot, ARGUMENTS.get(name, name)))


@pytest.mark.parametrize(
    "text", ["fcfs", "aged(priority, 2s)", "aged(priority, 2s) > fcfs", "per-tenant(fcfs)"]
)
def test_orders_that_claim_a_starvation_bound_keep_it(text):
    kit.check_order(lambda: parse_policy("order", text), starvation_bound=120)


def test_priority_alone_claims_no_bound_and_has_none():
    with pytest.raises(AssertionError, match="starved"):
        kit.check_order(lambda: parse_policy("order", "priority > fcfs"), starvation_bound=120)


class Forgetful(KeyOrder):
    def key(self, seq, now):
        return seq.arrival

    def rank(self, seqs, now):
        return iter(sorted(seqs, key=lambda s: s.number)[1:])


class Moody(KeyOrder):
    def key(self, seq, now):
        return seq.arrival + random.random()


class Restless(KeyOrder):
    def key(self, seq, now):
        return now - seq.arrival


class Pushy(KeyOrder):
    def key(self, seq, now):
        return seq.arrival

    def may_displace(self, waiting, running, now):
        return True


class Erratic(KeyOrder):
    def key(self, seq, now):
        return seq.arrival

    def may_displace(self, waiting, running, now):
        return waiting.number < running.number and running.number % 2 == 0


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (Forgetful, "every sequence once"),
        (Moody, "deterministic"),
        (Restless, "static"),
        (Pushy, "displace"),
        (Erratic, "below who"),
    ],
)
def test_kit_finds_broken_orders(broken, why):
    with pytest.raises(AssertionError, match=why):
        kit.check_order(broken)


def test_kit_finds_a_preempt_policy_that_makes_up_victims():
    class Stranger:
        def choose(self, candidates, need, view):
            return kit.population(1, 99)[0]

    with pytest.raises(AssertionError, match="one of the candidates"):
        kit.check_preempt(Stranger)
