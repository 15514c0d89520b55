"""Pins keep pages through pressure for as long as they should, and never hold anybody up; prefix waiting."""

import pytest

from penstock.core.errors import ConfigError
from penstock.core.kv.pins import Owner, PinTable
from penstock.core.kv.pool import BlockPool
from penstock.core.output import FinishReason
from penstock.core.request import Turn
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.fake_executor import FakeExecutor


class Engine:
    """A scheduler on a fake executor, a step every 0.1 s."""

    def __init__(self, *, blocks=16, slots=8, **schedule):
        spec = make_spec(blocks=blocks, slots=slots, max_model_len=blocks * 4)
        self.s = make_scheduler(spec, max_tokens=256, **schedule)
        self.executor = FakeExecutor(spec)
        self.now = 1.0
        self.answers = {}
        self.cached = {}

    def submit(self, name, prompt, **fields):
        self.s.submit(make_request(name, prompt, **fields), self.now)

    def step(self):
        self.now += 0.1
        plan = self.s.plan(self.now)
        if plan is not None:
            self.executor.submit(plan)
            self.s.land(self.executor.collect(plan.ticket), self.now)
        for out in self.s.take_outputs():
            self.answers.setdefault(out.request_id, []).extend(out.tokens)
            self.cached[out.request_id] = out.cached_tokens
        return plan

    def finish(self, most=200):
        while self.s.live_ids():
            self.step()
            most -= 1
            assert most, "somebody hangs"

    def turn(self, program, index, prompt, **fields):
        name = f"{program}.{index}"
        turn = Turn(index=index, last=fields.pop("last", False))
        self.submit(name, prompt, program=program, turn=turn, max_tokens=fields.pop("max_tokens", 4))
        self.finish()
        return [*prompt, *self.answers[name]]

    @property
    def stats(self):
        return self.s.stats()


def other(start, length=40):
    return list(range(start, start + length))


def test_a_pinned_context_outlives_what_evicts_an_idle_one():
    for retain, cached in (("none", 0), ("ttl(100s)", 20)):
        engine = Engine(retain=retain)
        said = engine.turn("p", 0, other(1, 17))  # 20 of its 21 tokens are computed: 5 full pages
        for n in range(3):
            engine.submit(f"x{n}", other(100 * n + 100, 38), max_tokens=2)
            engine.finish()
        engine.turn("p", 1, [*said, 9, 9])
        assert engine.cached["p.1"] == cached


def test_pins_are_counted_and_end_with_the_last_turn():
    engine = Engine(retain="ttl(100s)")
    said = engine.turn("p", 0, other(1, 17))
    assert engine.stats.blocks_pinned == 5 and engine.s.view.blocks_pinned == 5
    assert engine.stats.blocks_free + engine.stats.blocks_reclaimable == 11 == engine.s.view.blocks_available
    said = engine.turn("p", 1, said)
    assert engine.stats.pins_returned == 1 and engine.stats.pins_made == 2
    engine.turn("p", 2, said, last=True)
    assert engine.stats.blocks_pinned == 0 and engine.stats.pins_returned == 2


def test_expiry_is_strict_and_spares_whoever_is_queued():
    engine = Engine(blocks=8, slots=1, retain="ttl(1s)", order="fcfs")
    said = engine.turn("p", 0, other(1, 9))
    deadline = engine.now + 1.0
    engine.s.plan(deadline)
    assert engine.stats.blocks_pinned == 3
    engine.now = deadline - 0.15
    engine.submit("x", other(50, 4), max_tokens=12)  # holds the only slot past the deadline
    engine.step()
    engine.submit("p.1", [*said, 7], program="p", max_tokens=2)
    for _ in range(5):
        engine.step()
    assert engine.now > deadline and engine.stats.blocks_pinned == 3
    engine.finish()
    assert engine.cached["p.1"] == 12 and engine.stats.pins_returned == 1
    engine.s.plan(engine.now + 1.01)
    assert engine.stats.blocks_pinned == 0


def test_a_queued_return_that_is_cancelled_no_longer_holds_its_pin():
    engine = Engine(blocks=8, slots=1, retain="ttl(1s)")
    said = engine.turn("p", 0, other(1, 9))
    engine.submit("x", other(50, 4), max_tokens=12)
    engine.step()
    engine.submit("p.1", said, program="p")
    engine.now += 2.0
    engine.step()
    assert engine.stats.blocks_pinned == 3
    engine.s.cancel("p.1", engine.now, FinishReason.ABORT, "client")
    engine.step()
    assert engine.stats.blocks_pinned == 0


def test_a_running_sequence_grows_into_pins_before_anybody_is_preempted():
    engine = Engine(blocks=8, retain="ttl(100s)")
    engine.turn("early", 0, other(1, 9))
    engine.turn("late", 0, other(30, 9))
    engine.submit("x", other(60, 6), max_tokens=14)  # 20 tokens: 5 pages, and 2 are free
    engine.finish()
    assert engine.stats.preemptions == 0 and engine.stats.pins_given_up == 1
    assert Owner("program", "default", "early") in engine.s.state.kv.pins


def test_when_nothing_runs_pins_make_room_for_a_request_of_the_whole_pool():
    engine = Engine(blocks=8, retain="ttl(100s)")
    for n in range(2):
        engine.turn(f"p{n}", 0, other(30 * n + 1, 9))
    engine.submit("whole", other(100, 31), max_tokens=1)
    engine.finish()
    assert engine.answers["whole"] and engine.stats.pins_given_up == 2


def test_the_returning_programs_own_pin_is_given_up_last():
    engine = Engine(blocks=8, retain="ttl(100s)")
    engine.turn("other", 0, other(30, 9))
    said = engine.turn("mine", 0, other(1, 9))
    engine.turn("mine", 1, [*said, *other(60, 10)])
    assert engine.cached["mine.1"] == 12


def test_a_group_holds_its_prefix_until_the_last_member_ends():
    engine = Engine(blocks=16, slots=1, retain="groups", order="fcfs")
    for n in range(3):
        engine.submit(f"m{n}", [*other(1, 8), 50 + n, 60 + n], max_tokens=2, group="g", group_tokens=8)
    engine.step()
    engine.step()
    engine.step()
    assert engine.stats.blocks_pinned == 2
    engine.s.cancel("m2", engine.now, FinishReason.ABORT, "client")
    engine.finish()
    assert engine.stats.blocks_pinned == 0 and engine.cached["m1"] == 8


def test_a_reset_of_the_cache_ends_pins_but_not_running_sequences():
    engine = Engine(retain="ttl(100s)")
    engine.turn("p", 0, other(1, 17))
    engine.submit("x", other(50, 10), max_tokens=8)
    engine.step()
    assert not engine.s.reset_prefix_cache() and engine.stats.blocks_pinned == 5
    engine.finish()
    assert engine.s.reset_prefix_cache() and engine.stats.blocks_free == 16


def test_pinning_without_a_prefix_cache_is_refused():
    with pytest.raises(ConfigError, match="enable_prefix_caching"):
        make_scheduler(make_spec(), retain="ttl(1s)", prefix_caching=False)


def test_two_pins_on_a_page_count_for_themselves():
    pool = BlockPool(4)
    table, blocks = PinTable(pool), pool.allocate(2)
    for block in blocks:
        pool.keep(block)
    a, b = Owner("program", "t", "a"), Owner("group", "t", "b")
    table.pin(a, blocks, 5.0, 0.0)
    table.pin(b, blocks[:1], 5.0, 1.0)
    pool.release(blocks, 0)
    assert pool.refs[:4].count(2) == 1 and len(table.held) == 2 and table.alone() == 2
    assert table.give_up() and a not in table, "programs go before groups"
    assert pool.reclaimable == 1 and table.release(b) and not table.release(b) and pool.reclaimable == 2


# -- waiting for a page under way ----------------------------------------------------------------------


@pytest.mark.parametrize(("waits", "computed"), [(True, 40 + 4 * 8), (False, 4 * 48)])
def test_a_burst_with_one_prefix_computes_it_once(waits, computed):
    engine = Engine(blocks=64, prefix_wait=waits)
    prompts = [[*other(1, 40), *other(200 + 10 * n, 8)] for n in range(4)]
    for n, prompt in enumerate(prompts):
        engine.submit(f"r{n}", prompt, max_tokens=3)
    engine.finish()
    assert engine.stats.prompt_tokens == computed
    if waits:
        assert engine.stats.waiting_by_reason["prefix"] > 0


def test_whoever_waits_goes_on_when_the_one_it_waits_for_leaves():
    engine = Engine(blocks=64, prefix_wait=True, shape="chunked(8)")
    engine.submit("a", [*other(1, 40), 7], max_tokens=3)
    engine.step()
    engine.submit("b", [*other(1, 40), 8], max_tokens=3)
    engine.step()
    assert engine.stats.running == 1
    engine.s.cancel("a", engine.now, FinishReason.ABORT, "client")
    engine.finish()
    assert len(engine.answers["b"]) == 3 and engine.cached["b"] == 16


def test_nobody_waits_who_needs_every_row():
    engine = Engine(blocks=64, prefix_wait=True)
    engine.submit("a", other(1, 41), max_tokens=2)
    engine.submit("b", other(1, 41), max_tokens=2, prompt_logprobs=1)
    engine.step()
    assert engine.stats.running == 2
