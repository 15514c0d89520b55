"""Calibration finds the step times that a journal was made with, and a paced run feeds what it measures."""

import json

import pytest

from penstock.bench.calibrate import calibrate, load_host, samples, save
from penstock.bench.fidelity import compare, simulate
from penstock.bench.paced import PacedRun
from penstock.bench.probe import Probe
from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import ConfigError
from penstock.core.plan import PlanShape
from penstock.cost.fitted import load_fit
from penstock.cost.host import HostTimes, fit_host
from penstock.cost.scatter import Scatter
from penstock.engine.core import build_engine
from penstock.engine.journal import read_journal
from penstock.sim.replay import replay
from penstock.testing.builders import make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor
from penstock.workload.driver import OpenLoop
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest

SPEC = make_spec(slots=16, blocks=400, page_size=4, max_model_len=200)
SCHEDULE = ScheduleConfig(max_num_seqs=16, max_num_batched_tokens=64, admit="unlimited")


def seconds(plan):
    shape = plan.shape
    return 0.004 + 2e-5 * shape.tokens + 1e-6 * shape.kv_tokens + 2e-7 * shape.prefill_pairs


def paced(driver, monkeypatch):
    """Run a driver on a fake engine whose clock its steps and the run's sleeps move."""
    clock, lines, collector = ManualClock(3.0), [], Collector()
    monkeypatch.setattr("penstock.bench.paced.time.sleep", lambda s: clock.advance(s + 1e-9))
    executor = FakeExecutor(SPEC, clock=clock, seconds=seconds)
    engine = build_engine(executor, SCHEDULE, CacheConfig(), clock, journal=lines.append)
    run = PacedRun(engine, collector, SPEC.vocab_size)
    run.run(driver)
    return collector, list(read_journal(lines))


def requests(count):
    return [
        TraceRequest(
            id=f"r{n}",
            arrival=0.03 * n,
            prompt=(Span(n + 1, 10 + 7 * n % 90),),
            output_tokens=5 + 3 * n % 40,
        )
        for n in range(count)
    ]


def test_a_fit_foretells_steps_and_runs_that_it_has_not_seen(monkeypatch, tmp_path):
    _, entries = paced(Probe(20.0, 150, 16), monkeypatch)
    found = calibrate(samples(entries))
    assert found.held_out > 50 and found.held_out_mape < 0.03
    save(found, tmp_path / "fit.json")
    assert load_fit(tmp_path / "fit.json").curve == found.cost.curve
    assert load_host(tmp_path / "fit.json") == found.host
    real, entries = paced(OpenLoop(requests(60)), monkeypatch)
    virtual = simulate(OpenLoop(requests(60)), SPEC, SCHEDULE, CacheConfig(), found.cost, found.host)
    for row in compare(real, virtual):
        assert abs(row.error) < 0.05, row
    assert replay(entries).difference is None


def test_a_paced_run_serves_everything_and_sleeps_between(monkeypatch):
    collector, _ = paced(OpenLoop(requests(12)), monkeypatch)
    summary = collector.summary()
    assert summary["completed"] == 12
    assert summary["total_output_tokens"] == sum(r.output_tokens for r in requests(12))


def test_too_few_steps_and_bad_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="at least 100 steps"):
        calibrate([])
    path = tmp_path / "x.json"
    path.write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match="not a calibration"):
        load_host(path)


def test_host_times_are_lines_that_never_go_below_zero():
    host = fit_host([(n, 1e-4 + 2e-6 * n) for n in range(1, 40)], [(n, 3e-6 * n) for n in range(1, 40)])
    assert host.plan == pytest.approx(1e-4) and host.plan_sequence == pytest.approx(2e-6)
    assert host.ready(5.0, 0) == 5.0 and host.ready(5.0, 10) == pytest.approx(5.0 + 3e-5)
    falling = fit_host([(1, 5e-5), (2, 4e-5)], [])
    assert falling.plan_sequence == 0 and falling.plan > 0 and falling.land == 0
    assert HostTimes().ready(1.0, 9) == 1.0


def test_scatter_is_what_was_recorded_and_follows_its_seed():
    small, large = (PlanShape(n, 1, 0, n, 0, 0, 1) for n in (4, 400))
    scatter = Scatter([small] * 50 + [large] * 50, [0.5, 1.5] * 25 + [2.0] * 50)

    class One:
        def step(self, shape):
            return 1.0

    first, again = scatter.drawn(One(), 3), scatter.drawn(One(), 3)
    drawn = [first.step(small) for _ in range(500)]
    assert set(drawn) == {0.5, 1.5} and sum(drawn) / 500 == pytest.approx(1.0, abs=0.1)
    assert drawn == [again.step(small) for _ in range(500)]
    assert first.step(large) == 2.0
    assert Scatter([], []).drawn(One(), 0).step(large) == 1.0
