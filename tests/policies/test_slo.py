"""Step budgets that decodes can bear, and room around urgent requests."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.core.request import SLO
from penstock.engine.core import EngineCore
from penstock.policies.parse import parse_policy
from penstock.policies.shape.slo import SloShape
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor


class Linear:
    """Priced by everything that a step has."""

    def step(self, shape):
        return (
            0.005
            + 0.001 * shape.tokens
            + 1e-5 * shape.kv_tokens
            + 1e-6 * shape.prefill_pairs
            + 1e-4 * shape.samples
        )


COST = Linear()


def engine_of(shape="slo(4)", cost=COST, slots=8, max_tokens=128, blocks=512, seconds=COST.step, **schedule):
    clock = ManualClock()
    spec = make_spec(slots=slots, blocks=blocks, max_model_len=256)
    scheduler = make_scheduler(spec, shape=shape, max_num_seqs=slots, max_tokens=max_tokens, **schedule)
    scheduler.state.cost = cost
    return EngineCore(scheduler, FakeExecutor(spec, clock=clock, seconds=lambda p: seconds(p.shape)), clock)


def ask(engine, name, prompt, tokens, tpot=None, **more):
    ids = [1 + (hash((name, i)) % 40) for i in range(prompt)]
    slo = None if tpot is None else SLO(tpot=tpot)
    engine.submit(make_request(name, ids, max_tokens=tokens, ignore_eos=True, slo=slo, **more))


jobs = st.lists(
    st.tuples(
        st.integers(1, 120), st.integers(1, 40), st.sampled_from([None, 0.02, 0.04, 0.1]), st.integers(0, 5)
    ),
    min_size=1,
    max_size=12,
)


@given(jobs)
@settings(max_examples=40, deadline=None)
def test_no_step_exceeds_what_the_tightest_decode_bears_but_by_the_floor(work):
    engine = engine_of(prefix_caching=False)
    state, shape = engine.scheduler.state, engine.scheduler.state.policies.shape
    pending = list(enumerate(work))
    while pending or engine.has_work():
        while pending and pending[0][1][3] <= state.counters.steps:
            number, (prompt, tokens, tpot, _) = pending.pop(0)
            ask(engine, f"{number}", prompt, tokens, tpot)
        if not engine.has_work() and pending:
            number, (prompt, tokens, tpot, _) = pending.pop(0)
            ask(engine, f"{number}", prompt, tokens, tpot)
        now = engine.clock.now()
        limits = [shape.allowed(s, now) for s in state.running if s.target - s.planned == 1]
        if engine.fill() is not None:
            step = state.in_flight[0][0].shape
            assert step.prefill_tokens <= 4 or COST.step(step) <= 0.9 * min(limits, default=math.inf) + 1e-9
        engine.land()


def test_without_objectives_the_budget_is_the_engines():
    engine = engine_of()
    ask(engine, "a", 4, 20)
    engine.tick()
    ask(engine, "b", 120, 2)
    engine.fill()
    assert engine.scheduler.state.in_flight[0][0].shape.tokens == 121


@pytest.mark.parametrize(("shape", "kept"), [("slo(4)", True), ("chunked", False)])
def test_a_long_prompt_does_not_stall_a_decode_beyond_its_objective(shape, kept):
    engine = engine_of(shape)
    ask(engine, "talk", 2, 60, tpot=0.02)
    times = []
    for step in range(60):
        if step == 10:
            ask(engine, "long", 250, 1)
        times += [engine.clock.now() for out in engine.tick() if out.request_id == "talk" and out.tokens]
    assert ((times[-1] - times[0]) / (len(times) - 1) <= 0.02) == kept or not kept
    worst = max(b - a for a, b in pairwise(times))
    assert (worst < 0.04) == kept


def test_what_was_saved_may_be_spent():
    shape, patient = SloShape(), SloShape(stall=20)

    class Seq:
        number, prompt_length, target = 1, 10, 21
        spec = make_request("x", 3, slo=SLO(tpot=0.1))

    shape._first[1] = patient._first[1] = 50.0
    assert shape.allowed(Seq, 50.2) == pytest.approx(0.2)
    assert patient.allowed(Seq, 50.2) == pytest.approx(0.9)  # ten made in 0.2 s; the eleventh is due at 51.1
    assert shape.allowed(Seq, 53.0) == pytest.approx(0.1)  # late: within its objective is what is left


def test_it_learns_the_pace_where_nobody_tells_it():
    engine = engine_of("slo(4)", cost=None, seconds=lambda shape: 0.005 + 0.001 * shape.tokens)
    pace = engine.scheduler.state.policies.shape._pace
    for number in range(12):
        ask(engine, f"w{number}", 10 + 7 * number, 12)
    while engine.has_work():
        engine.tick()
    assert pace._line == (pytest.approx(0.005, abs=5e-4), pytest.approx(0.001, rel=0.05))
    ask(engine, "talk", 2, 60, tpot=0.02)
    for _ in range(3):
        engine.tick()
    ask(engine, "long", 250, 1)
    longest = 0
    while engine.has_work():
        engine.fill()
        longest = max(longest, engine.scheduler.state.in_flight[0][0].shape.tokens)
        engine.land()
    assert longest < 60  # 250 at once would take 0.25 s


@pytest.mark.parametrize(("reserve", "admitted"), [("headroom(0.5)", 4), ("known(0)", 8)])
def test_others_leave_headroom_while_the_urgent_run(reserve, admitted):
    engine = engine_of(
        "chunked", reserve=reserve, order="priority > fcfs", blocks=64, slots=12, max_tokens=512
    )
    ask(engine, "urgent", 8, 30, priority=-1)
    engine.tick()
    for number in range(8):
        ask(engine, f"n{number}", 24, 20)
    engine.tick()
    # 64 blocks: 3 are the urgent one's, 6 each normal one's, and 32 must stay free beside them.
    assert engine.stats().running == 1 + admitted
    assert (engine.scheduler.state.kv.available >= 32) == (admitted == 4)
    seen = set()
    while engine.has_work():
        seen |= {out.request_id for out in engine.tick() if out.finish}
    assert len(seen) == 9


def test_the_urgent_are_counted_through_preemption_and_cancelling():
    engine = engine_of("chunked", reserve="headroom(0.3)", order="priority > fcfs", slots=2, blocks=64)
    reserve = engine.scheduler.state.policies.reserve
    for number in range(6):
        ask(engine, f"{number}", 8, 10, priority=-(number % 3))
        engine.tick()
        running = engine.scheduler.state.running
        assert reserve.urgent == sum(seq.spec.priority < 0 for seq in running)
    engine.cancel("5")
    engine.cancel("4")
    while engine.has_work():
        engine.tick()
        assert reserve.urgent == sum(seq.spec.priority < 0 for seq in engine.scheduler.state.running)
    assert reserve.urgent == 0


@pytest.mark.parametrize(
    ("slot", "text"),
    [
        ("shape", "slo(0)"),
        ("shape", "slo(4, 2)"),
        ("reserve", "headroom(1)"),
        ("reserve", "headroom(0.1, 0.5)"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(slot, text):
    with pytest.raises(ConfigError, match=rf"schedule\.{slot}"):
        parse_policy(slot, text)
