"""The state machine passes on the scheduler as it is, and finds a bug planted against each invariant."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from penstock.core.builder import PlanBuilder
from penstock.core.kv.manager import KVManager
from penstock.core.kv.pins import PinTable
from penstock.core.kv.pool import BlockPool
from penstock.core.kv.radix import RadixIndex
from penstock.core.landing import Landing
from penstock.core.queue import WaitingQueue
from penstock.core.resources import SlotResource
from penstock.core.state import SchedulerState
from tests.core.machine import SchedulerMachine

QUICK = settings(
    max_examples=120,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_scheduler_keeps_every_invariant():
    run_state_machine_as_test(SchedulerMachine, settings=QUICK)


def leak_a_block(monkeypatch):
    original = BlockPool.allocate

    def allocate(self, count):
        taken = original(self, count)
        if count > 2 and self._free:
            self._free.pop()
        return taken

    monkeypatch.setattr(BlockPool, "allocate", allocate)


def forget_a_reference(monkeypatch):
    original = RadixIndex.lease
    monkeypatch.setattr(RadixIndex, "lease", lambda self, path: original(self, path[:-1]))


def release_without_fence(monkeypatch):
    monkeypatch.setattr(BlockPool, "release", lambda self, blocks, ticket: self._drop(blocks))


def reuse_slot_without_fence(monkeypatch):
    original = SlotResource.release

    def release(self, seq):
        ticket, seq.ticket = seq.ticket, 0
        original(self, seq)
        seq.ticket = ticket

    monkeypatch.setattr(SlotResource, "release", release)


def computed_goes_back(monkeypatch):
    original = Landing.land

    def land(self, result):
        members = self._s.in_flight[0][1]
        original(self, result)
        for seq, n in members:
            if seq.computed > n > 1:
                seq.computed -= n + 1

    monkeypatch.setattr(Landing, "land", land)


def exceed_the_budget(monkeypatch):
    monkeypatch.setattr(PlanBuilder, "fit", lambda self, gap: gap)


def finish_twice(monkeypatch):
    original = SchedulerState._say

    def say(self, seq, finish):
        original(self, seq, finish)
        if finish.detail == "client":
            original(self, seq, finish)

    monkeypatch.setattr(SchedulerState, "_say", say)


def lose_a_terminal_event(monkeypatch):
    original = SchedulerState._say

    def say(self, seq, finish):
        if seq.preemptions == 0:
            original(self, seq, finish)

    monkeypatch.setattr(SchedulerState, "_say", say)


def overtake(monkeypatch):
    original = WaitingQueue.candidates

    def candidates(self, now):
        return iter(list(original(self, now))[::-1])

    monkeypatch.setattr(WaitingQueue, "candidates", candidates)


def starve_the_preempted(monkeypatch):
    original = SchedulerState.preempt

    def preempt(self, seq):
        original(self, seq)
        seq.ticket = 10**9

    monkeypatch.setattr(SchedulerState, "preempt", preempt)


def share_a_page_before_it_is_written(monkeypatch):
    original = KVManager.acquire

    def acquire(self, seq, demand=0):
        if not original(self, seq, demand):
            return False
        seq.computed, landed = min(seq.target - 1, 4), seq.computed
        self.commit(seq)
        seq.computed = landed
        return True

    monkeypatch.setattr(KVManager, "acquire", acquire)


def pin_without_a_reference(monkeypatch):
    original = PinTable.pin

    def pin(self, owner, blocks, deadline, since):
        original(self, owner, blocks, deadline, since)
        if owner in self:
            self._pool.release(blocks[-1:], 0)

    monkeypatch.setattr(PinTable, "pin", pin)


def never_give_a_pin_up(monkeypatch):
    monkeypatch.setattr(PinTable, "give_up", lambda self, last=None: False)


def let_a_pin_outlive_its_time(monkeypatch):
    monkeypatch.setattr(PinTable, "expire", lambda self, now, wanted: None)


def wait_for_a_page_of_somebody_who_left(monkeypatch):
    original = KVManager.release

    def release(self, seq):
        key = self._announced.get(seq.number)
        original(self, seq)
        if key is not None:
            self._under_way[key] = -1

    monkeypatch.setattr(KVManager, "release", release)


PLANTED = {
    leak_a_block: "blocks lost",
    forget_a_reference: "wrong reference counts|released more often than held",
    release_without_fence: "reuses a block",
    reuse_slot_without_fence: "reuses a slot",
    computed_goes_back: "computed went back",
    exceed_the_budget: "budget of 10 exceeded",
    finish_twice: "news after the terminal event",
    lose_a_terminal_event: "has no terminal event",
    overtake: "overtook",
    starve_the_preempted: "somebody starved",
    pin_without_a_reference: "wrong reference counts|released more often than held",
    never_give_a_pin_up: "somebody starved",
    let_a_pin_outlive_its_time: "outlived its time",
    wait_for_a_page_of_somebody_who_left: "somebody starved|still said to be under way",
    share_a_page_before_it_is_written: "does not hold its tokens|must be held and not kept|did not empty",
}


def messages(error):
    """All texts of an exception and of the group it may be."""
    inner = getattr(error, "exceptions", ())
    return str(error) + "".join(messages(e) for e in inner)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_finds_planted_bug(plant, monkeypatch):
    plant(monkeypatch)
    hunt = settings(QUICK, max_examples=400, phases=[Phase.generate])
    with pytest.raises(BaseException) as caught:
        run_state_machine_as_test(SchedulerMachine, settings=hunt)
    assert any(symptom in messages(caught.value) for symptom in PLANTED[plant].split("|"))
