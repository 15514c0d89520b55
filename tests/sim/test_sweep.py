"""Sweeps and the capacity search."""

import math

import pytest

from penstock.core.errors import ConfigError
from penstock.sim.capacity import as_capacity, find_capacity
from penstock.sim.plots_sweep import draw_capacity, draw_sweep
from penstock.sim.run import Outcome, Scenario, evaluate
from penstock.sim.sweep import as_rows, mark_best, parse_sweep, short, sweep, variants

SMALL = Scenario(
    workload="poisson:rate=20,count=40,prompt=300,output=10", cost="llama-3.1-8b@l4", slo={"ttft": 1.0}
)


def test_axes_are_read_and_brackets_keep_their_commas():
    axes = parse_sweep(["order=fcfs, aged(priority, 5s),", "--max-num-seqs=8,16", "route=round-robin"])
    assert axes == {
        "order": ["fcfs", "aged(priority, 5s)"],
        "max_num_seqs": ["8", "16"],
        "route": ["round-robin"],
    }
    for text, says in [("order", "NAME=VALUE"), ("order=", "NAME=VALUE"), ("port=1", "cannot be varied")]:
        with pytest.raises(ConfigError, match=says):
            parse_sweep([text])


def test_every_combination_is_made_and_values_are_checked():
    found = variants(SMALL, {"order": ["fcfs", "priority"], "block_size": ["16", "32"], "replicas": ["2"]})
    assert len(found) == 4
    last = found[-1].scenario
    assert (last.schedule.order, last.cache.block_size, last.replicas) == ("priority", 32, 2)
    with pytest.raises(ConfigError, match="max_num_seqs"):
        variants(SMALL, {"max_num_seqs": ["0"]})
    with pytest.raises(ConfigError, match="replicas"):
        variants(SMALL, {"replicas": ["many"]})


def test_refused_combinations_are_listed_and_the_others_run(tmp_path):
    found = variants(SMALL, {"shape": ["chunked", "nosuch"], "max_num_seqs": ["1", "64"]})
    rows = sweep(found, evaluate)
    assert [bool(row.refused) for row in rows] == [False, False, True, True]
    assert "schedule.shape" in rows[2].refused
    assert [row.best for row in rows] == [False, True, False, False]
    plain = as_rows(rows)
    assert plain[1]["pareto"] and plain[1]["completed"] == 40 and plain[2]["refused"]
    assert draw_sweep(rows, tmp_path).stat().st_size > 5000


def test_the_front_holds_whoever_nobody_beats():
    def row(rate, wait):
        figures = {"output_throughput": rate, "p99_ttft_ms": wait}
        outcome = Outcome(scenario=SMALL, figures=figures, tenants={}, labels={})
        return type("Row", (), {"outcome": outcome, "best": False})()

    rows = [row(10, 5), row(10, 4), row(8, 2), row(7, 3), row(8, 2)]
    mark_best(rows)
    assert [one.best for one in rows] == [False, True, True, False, True]


def test_capacity_is_the_crossing_and_shows_its_trials(tmp_path):
    """On a device that gives every step the same time, the capacity can be computed."""

    def device(scenarios):
        for scenario in scenarios:
            busy = min(scenario.rate / 10, 1.0)
            figures = {"slo_attainment": 1.0 if scenario.rate <= 10 else 0.5, "unstable": 0}
            figures |= dict.fromkeys(("p99_ttft_ms", "median_ttft_ms", "p99_tpot_ms"), 1.0 + scenario.rate)
            yield Outcome(scenario=scenario, figures=figures | {"device_busy": busy}, tenants={}, labels={})

    found = find_capacity(SMALL, device)
    assert 9.75 <= found.rate <= 10 < found.above <= found.rate * 1.026
    assert [trial.rate for trial in found.trials][:3] == [20.0, 10.0, 15.0] or found.trials[0].rate == 1.0
    assert as_capacity(found)["capacity"] == found.rate
    assert draw_capacity(found, tmp_path).stat().st_size > 5000


def test_an_idle_system_that_fails_ends_the_search_and_real_ones_are_found():
    slow = Scenario(workload="poisson:count=20", cost="llama-3.1-8b@l4", slo={"tpot": 0.001})
    found = find_capacity(slow, evaluate)
    assert found.rate == 0 and len(found.trials) < 12
    real = find_capacity(SMALL, evaluate, share=0.5)
    assert real.rate > 1 and math.isfinite(real.above)
    assert all(trial.good == (trial.rate <= real.rate) for trial in real.trials)
    with pytest.raises(ConfigError, match="objectives"):
        find_capacity(Scenario(workload="poisson", cost="llama-3.1-8b@l4"), evaluate)


def test_numbers_are_short():
    assert [short(value) for value in (0.0123456, 12.3456, 123456.0, 3.0)] == [
        "0.0123",
        "12.3",
        "123,456",
        "3",
    ]
