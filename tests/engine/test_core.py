"""The loop: faults hit one request or one step, never the engine."""

import pytest

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import ConfigError, Overloaded
from penstock.core.output import FinishReason
from penstock.engine.core import build_engine
from penstock.testing.builders import make_request, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor

SPEC = make_spec(slots=40, blocks=400)


def run(engine):
    tokens, ends = {}, {}
    for _ in range(2000):
        if not engine.has_work():
            break
        for out in engine.tick():
            tokens.setdefault(out.request_id, []).extend(out.tokens)
            if out.finish:
                assert out.request_id not in ends
                ends[out.request_id] = out.finish
    assert not engine.has_work()
    return tokens, ends


def engine_with(depth=0, **executor):
    clock = ManualClock()
    return build_engine(
        FakeExecutor(SPEC, clock=clock, **executor), ScheduleConfig(pipeline_depth=depth), clock=clock
    )


def submit_all(engine, count=33):
    for n in range(count):
        engine.submit(make_request(f"r{n}", [n % 7] * (n + 3), max_tokens=12))


@pytest.mark.parametrize("depth", [0, 1])
def test_poisoned_request_errors_alone(depth):
    clean = engine_with(depth)
    submit_all(clean)
    expected, _ = run(clean)
    engine = engine_with(depth, poison=frozenset({"r5"}))
    submit_all(engine)
    tokens, ends = run(engine)
    assert ends["r5"].reason is FinishReason.ERROR and ends["r5"].detail == "poisoned"
    assert len(ends) == 33
    assert {k: v for k, v in tokens.items() if k != "r5"} == {k: v for k, v in expected.items() if k != "r5"}


@pytest.mark.parametrize("depth", [0, 1])
def test_step_that_fails_because_of_one_request_costs_only_that_one(depth):
    def fault(plan):
        if any(item.slot == slot_of("r5") for item in plan.items):
            raise RuntimeError("bad token in r5")

    def slot_of(name):
        seq = engine.scheduler.state.sequences.get(name)
        return seq.slot if seq else -2

    clean = engine_with(depth)
    submit_all(clean)
    expected, _ = run(clean)
    engine = engine_with(depth, fault=fault)
    submit_all(engine)
    tokens, ends = run(engine)
    assert ends["r5"].reason is FinishReason.ERROR and "bad token in r5" in ends["r5"].detail
    assert {k: v for k, v in tokens.items() if k != "r5"} == {k: v for k, v in expected.items() if k != "r5"}


@pytest.mark.parametrize("depth", [0, 1])
def test_passing_fault_costs_nobody_anything(depth):
    failures = iter([n in (2, 30) for n in range(1000)])

    def fault(plan):
        if next(failures):
            raise RuntimeError("hiccup")

    clean = engine_with(depth)
    submit_all(clean, 10)
    expected, _ = run(clean)
    engine = engine_with(depth, fault=fault)
    submit_all(engine, 10)
    tokens, ends = run(engine)
    assert tokens == expected and {e.reason for e in ends.values()} == {FinishReason.LENGTH}


def test_executor_that_always_fails_ends_every_request_with_its_cause():
    def fault(plan):
        raise RuntimeError("device lost")

    engine = engine_with(fault=fault)
    submit_all(engine, 5)
    _, ends = run(engine)
    assert {e.detail for e in ends.values()} == {"device lost"} and len(ends) == 5


def test_drain_refuses_newcomers_and_finishes_the_rest():
    engine = engine_with()
    submit_all(engine, 3)
    engine.drain()
    with pytest.raises(Overloaded, match="shutting down"):
        engine.submit(make_request("late", 3))
    _, ends = run(engine)
    assert len(ends) == 3


def test_cancel_and_abort_all_give_one_terminal_event_each():
    engine = engine_with(depth=1)
    submit_all(engine, 6)
    engine.tick()
    assert engine.cancel("r1") and not engine.cancel("r1") and not engine.cancel("nobody")
    assert engine.cancel("r2", "", FinishReason.STOP)
    engine.abort_all("shutdown")
    _, ends = run(engine)
    assert {k: (e.reason.value, e.detail) for k, e in ends.items()} == {
        "r1": ("abort", "client"),
        "r2": ("stop", ""),
        **{f"r{n}": ("abort", "shutdown") for n in (0, 3, 4, 5)},
    }
    assert engine.stats().running == engine.stats().waiting == 0


def test_overlap_brings_the_same_tokens_and_keeps_two_steps_in_flight():
    results = []
    for depth in (0, 1):
        engine = engine_with(depth)
        submit_all(engine, 8)
        engine.tick()
        assert len(engine._in_flight) == depth
        results.append(run(engine)[0])
    assert results[0] == results[1]


def test_policies_and_caching_come_from_the_configuration():
    with pytest.raises(ConfigError, match="unknown policy"):
        build_engine(FakeExecutor(SPEC), ScheduleConfig(order="magic"))
    engine = build_engine(FakeExecutor(SPEC), ScheduleConfig(), CacheConfig(enable_prefix_caching=False))
    for name in "ab":
        engine.submit(make_request(name, 40, max_tokens=4))
        run(engine)
    assert engine.stats().prefix_hit_tokens == 0
    engine = build_engine(FakeExecutor(SPEC), ScheduleConfig())
    for name in "ab":
        engine.submit(make_request(name, 40, max_tokens=4))
        run(engine)
    assert engine.stats().prefix_hit_tokens == 36 and engine.reset_prefix_cache()
