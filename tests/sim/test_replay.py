"""A recorded run and its replay in virtual time take the same decisions, step by step, field by field."""

import random

import msgspec
import pytest

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.engine.core import build_engine
from penstock.engine.journal import Opened, Planned, read_journal
from penstock.sim.replay import replay
from penstock.testing.builders import make_request, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor

ORDERS = ("priority > fcfs", "aged(priority, 1s)", "per-tenant(fcfs)")


def record(order, depth, seed):
    """Run an engine on a clock of its own: jittered steps, arrivals between and during them, cancels."""
    rng, clock, lines = random.Random(seed), ManualClock(5.0), []
    spec = make_spec(slots=6, blocks=40, page_size=4, pipeline_depth=depth)
    executor = FakeExecutor(spec, clock=clock, seconds=lambda plan: 0.01 + rng.random() * 0.02)
    schedule = ScheduleConfig(order=order, max_num_seqs=6, max_num_batched_tokens=24, admit="unlimited")
    engine = build_engine(executor, schedule, CacheConfig(), clock, journal=lines.append)
    todo = [
        make_request(
            f"r{n}",
            [rng.randrange(4) for _ in range(rng.randrange(1, 40))],
            max_tokens=rng.randrange(1, 30),
            priority=rng.randrange(3),
            tenant=rng.choice("ab"),
        )
        for n in range(50)
    ]
    while todo or engine.has_work():
        for _ in range(min(len(todo), rng.randrange(3))):
            engine.submit(todo.pop())
            clock.advance(rng.random() * 0.002)
        if rng.random() < 0.05 and engine.scheduler.live_ids():
            engine.cancel(rng.choice(engine.scheduler.live_ids()))
        clock.advance(0.0001)
        engine.tick()
        if rng.random() < 0.05:
            clock.advance(0.5)
    return lines


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("order", ORDERS)
def test_a_replay_decides_as_recorded(order, depth):
    entries = list(read_journal(record(order, depth, seed=3)))
    done = replay(entries)
    assert done.difference is None
    assert done.steps == sum(isinstance(e, Planned) for e in entries) > 50 and done.requests == 50


def test_another_policy_is_found_out():
    opened, *rest = read_journal(record("fcfs", 0, seed=4))
    assert isinstance(opened, Opened)
    other = msgspec.structs.replace(
        opened, schedule=msgspec.structs.replace(opened.schedule, order="priority")
    )
    difference = replay([other, *rest]).difference
    assert difference is not None and difference.recorded != difference.decided


def test_a_damaged_journal_is_named_by_line():
    with pytest.raises(ValueError, match="line 2 is not a journal entry"):
        list(read_journal([*record("fcfs", 0, seed=5)[:1], b'{"type": "landed"}']))
    with pytest.raises(ValueError, match="begins with"):
        replay([])
