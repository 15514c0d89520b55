"""Earliest deadline first, and deadlines at the door."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError, Overloaded
from penstock.core.request import SLO
from penstock.engine.core import EngineCore
from penstock.policies.parse import parse_policy
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor

STEP = 0.01


class PerToken:
    """A step takes a hundredth of a second, and a thousandth for every row."""

    def step(self, shape):
        return STEP + 0.001 * shape.tokens


def engine_of(slots=1, cost=None, max_tokens=64, **schedule):
    clock = ManualClock()
    spec = make_spec(slots=slots, blocks=512, max_model_len=256)
    scheduler = make_scheduler(spec, max_num_seqs=slots, max_tokens=max_tokens, **schedule)
    scheduler.state.cost = cost
    seconds = (lambda plan: cost.step(plan.shape)) if cost else None
    return EngineCore(scheduler, FakeExecutor(spec, clock=clock, seconds=seconds), clock)


def run(engine):
    ended, began = {}, engine.clock.now()
    while engine.has_work():
        for out in engine.tick():
            if out.finish:
                ended[out.request_id] = engine.clock.now() - began
    return ended


def ask(engine, name, tokens=2, **slo):
    objectives = SLO(**slo) if slo else None
    engine.submit(make_request(name, 4, max_tokens=tokens, ignore_eos=True, slo=objectives))


def test_the_earliest_due_goes_first_and_who_has_no_objective_last():
    engine = engine_of(order="edf")
    ask(engine, "none")
    ask(engine, "late", deadline=9.0)
    ask(engine, "soon", deadline=1.0)
    ask(engine, "answer-soon", ttft=2.0)
    assert list(run(engine)) == ["soon", "answer-soon", "late", "none"]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 60)), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_what_can_be_in_time_is_in_time_on_one_machine(jobs):
    """Jackson's rule: jobs that are all there meet their deadlines in some order only if they do in edf."""
    engine = engine_of(order="edf")
    for number, (tokens, steps) in enumerate(jobs):
        ask(engine, f"{number}", tokens, deadline=steps * STEP + STEP / 2)
    ended = run(engine)
    in_time = all(ended[str(i)] <= steps * STEP + STEP / 2 for i, (_, steps) in enumerate(jobs))
    done, possible = 0, True
    for tokens, steps in sorted(jobs, key=lambda job: job[1]):
        done += tokens
        possible = possible and done <= steps
    assert in_time == possible


def goodput(order, deadline=5):
    """D/D/1 at twice the capacity: jobs of four steps come every two and are due after some."""
    engine = engine_of(order=order)
    ended, due = {}, {}
    for step in range(200):
        if step % 2 == 0:
            due[f"{step}"] = engine.clock.now() + deadline * STEP + STEP / 2
            ask(engine, f"{step}", 4, deadline=deadline * STEP + STEP / 2)
        for out in engine.tick():
            if out.finish:
                ended[out.request_id] = engine.clock.now()
    return sum(ended[name] <= due[name] for name in ended)


def test_under_overload_edf_collapses_and_giving_up_the_late_does_not():
    assert goodput("edf") <= 5
    assert goodput("edf-feasible") >= 40


def test_the_late_are_served_when_nobody_else_waits():
    engine = engine_of(order="edf-feasible")
    ask(engine, "busy", 20)
    engine.tick()
    ask(engine, "hopeless", deadline=0.05)
    ask(engine, "fine", deadline=10.0)
    assert list(run(engine)) == ["busy", "fine", "hopeless"]


def test_a_request_that_cannot_be_in_time_is_refused_with_a_time_to_retry():
    engine = engine_of(cost=PerToken(), admit="deadline", order="edf", slots=2)
    ask(engine, "a", 50)
    ask(engine, "b", 50)
    engine.tick()
    refused = []
    for number in range(60):
        try:
            ask(engine, f"q{number}", 50, ttft=0.1)
        except Overloaded as refusal:
            refused.append(number)
            assert refusal.retry_after > 0
    # Four prompt tokens each: a full step of 62 takes 74 ms, so that 21 of them take 0.1 s.
    assert refused == list(range(20, 60)) or refused == list(range(21, 60))
    ask(engine, "sooner", 1, ttft=0.09)
    ask(engine, "patient", 1, ttft=60.0)
    ask(engine, "easy", 1)
    assert set(run(engine)) >= {"sooner", "patient", "easy"}


def test_an_answer_longer_than_its_deadline_is_refused_once_lengths_are_known():
    engine = engine_of(cost=PerToken(), admit="deadline", slots=4)
    for number in range(3):
        ask(engine, f"{number}", 40)
    run(engine)
    with pytest.raises(Overloaded):
        ask(engine, "long", 40, deadline=0.2)
    ask(engine, "short", 5, deadline=0.2)
    run(engine)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 12), st.integers(4, 60)), max_size=25))
@settings(max_examples=30, deadline=None)
def test_queued_tokens_are_counted_exactly(events):
    engine = engine_of(cost=PerToken(), admit="deadline", slots=2)
    admit = engine.scheduler.state.policies.admit
    for number, (pause, tokens, steps) in enumerate(events):
        for _ in range(pause):
            engine.tick()
        try:
            ask(engine, f"{number}", tokens, ttft=steps * STEP)
        except Overloaded as refusal:
            assert refusal.retry_after is not None and refusal.retry_after > 0
        if number % 4 == 3:
            engine.cancel(f"{number - 1}")
        waiting = engine.scheduler.state.waiting
        assert admit.queued() == sum(seq.prompt_length for seq in waiting if not seq.preemptions)
    run(engine)
    assert admit.queued() == 0


@pytest.mark.parametrize(
    ("slot", "text"), [("admit", "deadline(0)"), ("order", "edf(1)"), ("order", "edf > fcfs")]
)
def test_arguments_that_make_no_sense_are_refused(slot, text):
    with pytest.raises(ConfigError, match=rf"schedule\.{slot}"):
        parse_policy(slot, text)
