"""The conformance kit finds planted faults, each by name."""

import math
import random

import pytest

from penstock.core.policy import Reject, StepShape, Watcher
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.index import RankedIndex, SortedIndex
from penstock.policies.parse import parse_policy
from penstock.policies.registry import names
from penstock.testing import conformance as kit
from penstock.testing.conformance_lives import check_lives
from penstock.testing.conformance_slots import check_reserve, check_retain, check_route
from tests.policies.test_conformance import ARGUMENTS

ARGUMENTS = ARGUMENTS | {"ttl": "ttl(2s)", "groups": "groups"}


class ByArrival(KeyOrder):
    def key(self, seq, now):
        return seq.arrival


class LosesSome(ByArrival):
    """Its index forgets every tenth sequence that is added."""

    class Index(SortedIndex):
        def add(self, seq):
            if seq.number % 10 != 9:
                super().add(seq)

        def remove(self, seq):
            if seq.number % 10 != 9:
                super().remove(seq)

    def index(self, inner=None):
        return self.Index(self.key)


class OffersGhosts(ByArrival):
    """Its index goes on offering sequences that left the queue."""

    class Index(RankedIndex):
        def remove(self, seq):
            pass

    def index(self, inner=None):
        return self.Index(self.rank)


class Random(ByArrival):
    def key(self, seq, now):
        return random.random()


class SaysStatic(ByArrival):
    """Claims that keys are fixed, but ages."""

    def key(self, seq, now):
        return now - seq.arrival


class Quarrelsome(ByArrival):
    """Any two may displace each other for ever."""

    def may_displace(self, waiting, running, now):
        return True


class LastComeFirst(KeyOrder):
    """Newcomers push out whoever came before them, but it claims a bound."""

    def key(self, seq, now):
        return -seq.number

    def may_displace(self, waiting, running, now):
        return waiting.number > running.number


class Meddles(ByArrival):
    """Marks sequences while ranking them."""

    def key(self, seq, now):
        seq.preemptions += 1
        return seq.arrival


class NeverForgets(ByArrival):
    def __init__(self):
        self.known = []

    def on_arrive(self, seq, now):
        self.known.append(seq)


class Unbalanced(ByArrival):
    """Counts who runs, and is surprised by who leaves the queue without having run."""

    def __init__(self):
        self.running = {}

    def on_admit(self, seq, now):
        self.running[seq.id] = now

    def on_preempt(self, seq, now):
        del self.running[seq.id]

    def on_finish(self, seq, now, running):
        del self.running[seq.id]


class NoBudget:
    """Stops the engine when nobody waits."""

    def shape(self, view):
        return StepShape(view.waiting, view.waiting, view.waiting)


class InventsVictims:
    def choose(self, candidates, need, view):
        return kit.population(1, 99)[0]


class UnlikeKeys:
    def key(self, node):
        return "deep" if node.depth > 3 else node.last_used


class AlwaysFull:
    def decide(self, spec, view):
        return Reject("busy")


class Greedy:
    """Wants half the pool left over, even for a request that needs it all."""

    def demand(self, seq, view):
        return -(-seq.max_total // view.page_size) + view.blocks_total // 2


class PinsForEver:
    reason = "program"

    def seconds(self, seq, view):
        return math.inf


class NotANumber(PinsForEver):
    def seconds(self, seq, view):
        return math.nan


class ByNumber:
    """Returns a replica's number where its place is asked for."""

    def choose(self, spec, replicas, now):
        return replicas[0].number

    def on_finish(self, request_id, replica, now):
        pass


class KeepsLedger:
    """Notes every request and never crosses one out."""

    def __init__(self):
        self.where = {}

    def choose(self, spec, replicas, now):
        self.where[spec.id] = 0
        return 0

    def on_finish(self, request_id, replica, now):
        pass


class Forgetful(KeepsLedger):
    """Cannot take requests off that it never put down."""

    def on_finish(self, request_id, replica, now):
        del self.where[replica]


class Hoards(Watcher):
    """A retain policy that keeps every sequence it was asked about."""

    reason = "program"

    def __init__(self):
        self.asked = {}

    def on_finish(self, seq, now, running):
        self.asked[seq.id] = seq

    def seconds(self, seq, view):
        return 1.0


def bounded(make):
    kit.check_order(make, starvation_bound=120)


def lives(slot):
    return lambda make: check_lives(slot, make)


PLANTED = [
    (LosesSome, kit.check_order, "must offer somebody while anybody waits"),
    (OffersGhosts, kit.check_order, "offered a sequence that does not wait"),
    (Random, kit.check_order, "must be deterministic"),
    (SaysStatic, kit.check_order, "static key must not depend on the time"),
    (Quarrelsome, kit.check_order, "must not displace each other"),
    (LastComeFirst, bounded, "starved"),
    (Meddles, lives("order"), "must only look"),
    (NeverForgets, lives("order"), "still remembers"),
    (Unbalanced, lives("order"), "leaves the queue unadmitted: leave fails with KeyError"),
    (NoBudget, kit.check_shape, "budgets must be positive"),
    (InventsVictims, kit.check_preempt, "one of the candidates"),
    (UnlikeKeys, kit.check_evict, "comparable"),
    (AlwaysFull, kit.check_admit, "idle engine must accept"),
    (Greedy, check_reserve, "must be able to meet the demand"),
    (Greedy, lives("reserve"), "never ended"),
    (PinsForEver, check_retain, "a pin must end"),
    (NotANumber, check_retain, "must return a number"),
    (ByNumber, check_route, "a place in replicas"),
    (KeepsLedger, check_route, "still remembers"),
    (Forgetful, check_route, "must take the end of every request in"),
    (Hoards, lives("retain"), "still remembers"),
]


@pytest.mark.parametrize(("fault", "check", "why"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_found_by_name(fault, check, why):
    with pytest.raises(AssertionError, match=why):
        check(fault)


def test_the_policy_that_the_faults_grew_from_conforms():
    kit.check_order(ByArrival, starvation_bound=120)
    check_lives("order", ByArrival)


def built_in(slot, name):
    return lambda: parse_policy(slot, ARGUMENTS.get(name, name))


SLOTS = {"reserve": check_reserve, "retain": check_retain, "route": check_route}


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot in SLOTS for name in names(slot)])
def test_built_in_policies_of_the_other_slots_conform(slot, name):
    SLOTS[slot](built_in(slot, name))


ENGINE = ("order", "shape", "preempt", "evict", "admit", "reserve", "retain")


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot in ENGINE for name in names(slot)])
def test_built_in_policies_cope_with_every_life(slot, name):
    check_lives(slot, built_in(slot, name))
