"""What the engine notes of its steps for those who watch."""

import msgspec
import pytest

from penstock.config.settings import ScheduleConfig
from penstock.core.errors import Overloaded, StepFault
from penstock.core.executor import ExecutorSpec
from penstock.core.request import RequestSpec, SamplingParams
from penstock.engine import steps
from penstock.engine.core import build_engine
from penstock.engine.observation import TenantLoad
from penstock.observe.labels import OTHER
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor

SPEC = ExecutorSpec(slots=4, blocks=32, page_size=4, max_model_len=256, vocab_size=380)


class TimedExecutor(FakeExecutor):
    """Takes a tenth of a second of a manual clock for each step."""

    clock = None

    def collect(self, ticket):
        self.clock.advance(0.1)
        return super().collect(ticket)


def engine(fault=None):
    clock = ManualClock(100.0)
    executor = TimedExecutor(SPEC, fault=fault)
    executor.clock = clock
    return build_engine(executor, ScheduleConfig(max_num_batched_tokens=16), clock=clock, record=True), clock


def request(name, tenant="a", prompt=6, tokens=4):
    sampling = SamplingParams(max_tokens=tokens, ignore_eos=True)
    return RequestSpec(id=name, prompt_ids=tuple(range(3, 3 + prompt)), sampling=sampling, tenant=tenant)


def run(core):
    while core.has_work():
        core.tick()


def test_each_step_is_told_once_and_in_order():
    core, _ = engine()
    core.submit(request("one"))
    core.tick()
    first = core.observe(-1, 100)
    assert [step.ticket for step in first.steps] == [1]
    (step,) = first.steps
    assert (step.prefill_tokens, step.decode_tokens, step.sequences) == (6, 0, 1)
    assert step.start == 100.0 and abs(step.seconds - 0.1) < 1e-9 and step.running == 1
    run(core)
    later = core.observe(1, 100)
    assert [step.ticket for step in later.steps] == [2, 3, 4]
    assert all((step.prefill_tokens, step.decode_tokens) == (0, 1) for step in later.steps)
    assert [step.ticket for step in core.observe(-1, 2).steps] == [3, 4]
    assert core.observe(4, 100).steps == () == core.observe(-1, 0).steps


def test_histograms_count_every_step():
    core, _ = engine()
    core.submit(request("one"))
    run(core)
    seen = core.observe()
    assert sum(seen.host_seconds.counts) == sum(seen.step_seconds.counts) == 4
    assert len(seen.host_seconds.counts) == len(seen.host_seconds.bounds) + 1


def test_tenants_are_counted_as_they_come_and_go():
    core, _ = engine()
    for i in range(6):
        core.submit(request(str(i), tenant="many" if i else "one"))
    core.cancel("5")
    assert core.observe().tenants == (TenantLoad("many", 0, 4), TenantLoad("one", 0, 1))
    core.tick()
    loads = {load.tenant: (load.running, load.waiting) for load in core.observe().tenants}
    stats = core.stats()
    assert sum(r for r, _ in loads.values()) == stats.running > 0
    assert sum(w for _, w in loads.values()) == stats.waiting
    run(core)
    assert core.observe().tenants == ()


def test_tenants_survive_preemption():
    core, _ = engine()
    for i in range(4):  # 4 x 60 tokens do not fit 32 pages of 4
        core.submit(request(str(i), tenant=str(i % 2), prompt=6 + i, tokens=50))
    while core.has_work():
        core.tick()
        stats, loads = core.stats(), core.observe().tenants
        assert (sum(one.running for one in loads), sum(one.waiting for one in loads)) == (
            stats.running, stats.waiting,
        )  # fmt: skip
    assert core.stats().preemptions > 0
    assert core.observe().admitted == 4 + core.stats().preemptions


def test_a_finished_request_says_when_it_lost_its_memory():
    core, _ = engine()
    for i in range(4):
        core.submit(request(str(i), prompt=6 + i, tokens=50))
    ended = []
    while core.has_work():
        ended += [output.finish for output in core.tick() if output.finish is not None]
    assert sum(len(finish.timeline.preempted) for finish in ended) == core.stats().preemptions > 0
    for finish in ended:
        assert len(finish.timeline.preempted) == finish.preemptions
        assert all(
            finish.timeline.arrival < at < finish.timeline.finished for at in finish.timeline.preempted
        )


def test_only_the_busiest_tenants_are_named():
    core, _ = engine()
    for i in range(40):
        core.submit(request(f"{i}", tenant=f"t{i % 20}" if i < 30 else "big"))
    loads = core.observe().tenants
    assert len(loads) == steps.NAMED_TENANTS + 1 and loads[0] == TenantLoad("big", 0, 10)
    assert loads[-1].tenant == OTHER and sum(load.waiting for load in loads) == 40


def test_rates_cover_the_last_seconds_only():
    core, clock = engine()
    core.submit(request("one", tokens=4))
    run(core)
    rates = core.observe().rates
    assert abs(rates.seconds - 0.4) < 1e-6 and abs(rates.generated - 10) < 1e-6
    assert abs(rates.prompt_computed - 6 / 0.4) < 1e-6
    clock.advance(steps.RATE_SECONDS - 0.4)
    assert abs(core.observe().rates.generated - 4 / steps.RATE_SECONDS) < 1e-6
    clock.advance(1.0)
    assert core.observe().rates.generated == 0


def test_a_forgotten_ring_shortens_the_window(monkeypatch):
    monkeypatch.setattr(steps, "KEPT", 3)
    core, _ = engine()
    core.submit(request("one", tokens=10))
    run(core)
    rates = core.observe().rates
    assert abs(rates.seconds - 0.3) < 1e-6 and abs(rates.generated - 10) < 1e-6


def test_failed_steps_leave_nothing_open():
    def fault(plan):
        if any(init.request_id == "bad" for init in plan.admits):
            raise StepFault("on fire")

    core, _ = engine(fault)
    core.submit(request("good"))
    core.submit(request("bad"))
    run(core)
    seen = core.observe(-1, 100)
    assert seen.failed_steps >= 1 and seen.steps
    assert core.recorder._open == {}


def test_nothing_is_noted_unless_asked():
    core = build_engine(FakeExecutor(SPEC), ScheduleConfig())
    assert core.observe() is None and core.recorder is None


def test_decisions_of_policies_are_counted():
    schedule = ScheduleConfig(max_num_seqs=2, admit="queue-bound(3)", order="priority > fcfs")
    core = build_engine(FakeExecutor(SPEC), schedule, record=True)
    for i in range(3):
        core.submit(request(str(i), tokens=30))
    with pytest.raises(Overloaded):
        core.submit(request("one too many"))
    assert core.stats().refused == 1
    for _ in range(3):
        core.tick()
    core.submit(msgspec.structs.replace(request("urgent"), priority=-5))
    run(core)
    stats = core.stats()
    assert stats.preempted_for["rank"] >= 1
    assert sum(stats.preempted_for.values()) == stats.preemptions
