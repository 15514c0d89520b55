"""Scenarios, CPU cost, load over time, reports and pictures."""

import json
from itertools import count

import msgspec
import numpy as np
import pytest

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import ConfigError
from penstock.sim.host import parse_host
from penstock.sim.plots import _cumulated, draw_run, plot_folder
from penstock.sim.report import as_result, plain
from penstock.sim.run import Run, Scenario, device_of, simulate
from penstock.sim.run_series import POINTS, Series
from penstock.workload.metrics.columns import Columns

SMALL = Scenario(
    workload="poisson:rate=20,count=60,prompt=200,output=20", cost="llama-3.1-8b@l4", slo={"ttft": 1.0}
)


def changed(**fields):
    return msgspec.structs.replace(SMALL, **fields)


def test_budgets_and_blocks_are_those_that_serve_would_choose():
    gpu, cpu = device_of(SMALL), device_of(changed(cost="penstock-chat@cpu-amx-2"))
    assert (gpu.schedule.max_num_batched_tokens, gpu.spec.page_size, gpu.spec.pipeline_depth) == (2048, 16, 1)
    assert (cpu.schedule.max_num_batched_tokens, cpu.spec.page_size, cpu.spec.pipeline_depth) == (512, 32, 0)
    assert "90% of 1 x 24 GB" in gpu.label
    # 24 GB x 0.9 - 1 GB - 16.1 GB of weights over 128 KiB a token and 16 tokens a block
    assert gpu.spec.blocks == pytest.approx((24e9 * 0.9 - 1e9 - 16.06e9) / (131072 * 16), rel=0.01)
    halved = device_of(changed(cache=CacheConfig(kv_cache_dtype="int8")))
    assert halved.spec.blocks == pytest.approx(2 * gpu.spec.blocks, abs=1)
    given = device_of(changed(cache=CacheConfig(kv_cache_memory_bytes=131072 * 16 * 100)))
    assert given.spec.blocks == 100
    assert device_of(changed(blocks=77)).spec.blocks == 77


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"cost": "llama-3.1-8b@nosuchcard"}, "--cost"),
        ({"cost": "llama-3.1-70b@l4"}, "leaves no room"),
        ({"workload": "nosuch:rate=1"}, "--workload"),
        ({"workload": "poisson:rte=1"}, "--workload: rte"),
        ({"route": "nosuch"}, "--route"),
        ({"cpu_cost": "fast"}, "--cpu-cost"),
        ({"cpu_cost": "-1"}, "--cpu-cost"),
        ({"cpu_cost": "measured"}, "--cpu-cost"),
        ({"schedule": ScheduleConfig(order="nosuch")}, "schedule.order"),
    ],
)
def test_what_cannot_be_used_is_named(fields, says):
    with pytest.raises(ConfigError, match=says):
        simulate(changed(**fields))


def test_cpu_time_is_charged_and_labelled():
    at_once = {"cost": "penstock-chat@cpu-amx-2", "workload": "poisson:rate=1,count=5,prompt=40,output=4"}
    off = simulate(changed(**at_once))
    given = simulate(changed(cpu_cost="0.010", **at_once))
    assert off.labels["cpu"] == "not charged" and "0.01 s a step" in given.labels["cpu"]
    # One request at a time, four steps of one token each, 10 ms more before each.
    assert given.figures["mean_ttft_ms"] == pytest.approx(off.figures["mean_ttft_ms"] + 10, abs=0.01)
    assert given.figures["mean_tpot_ms"] == pytest.approx(off.figures["mean_tpot_ms"] + 10, abs=0.01)
    ticks = count(0.0, 0.001)
    measured = simulate(changed(cpu_cost="measured", **at_once), stopwatch=lambda: float(next(ticks)))
    assert "measured" in measured.labels["cpu"]
    # The stopwatch moves 1 ms per reading: one for planning, one for the landing before it.
    more = measured.figures["mean_tpot_ms"] - off.figures["mean_tpot_ms"]
    assert more == pytest.approx(2.0, abs=0.01)
    host, _ = parse_host("0.5,0.25")
    assert host.seconds(type("Plan", (), {"items": (1, 2)})()) == 1.0


def test_the_same_scenario_gives_the_same_figures_and_limits_cut_it():
    assert simulate(SMALL).figures == simulate(SMALL).figures
    assert simulate(changed(limit=25)).figures["completed"] == 25
    cut = simulate(changed(until=1.0)).figures
    assert cut["virtual_seconds"] <= 1.0 and cut["unfinished"] > 0
    assert (
        simulate(changed(rate=200.0)).figures["virtual_seconds"] < simulate(SMALL).figures["virtual_seconds"]
    )


def test_load_over_time_is_sampled_in_bounded_memory():
    view = type("View", (), {"running": 1, "waiting": 2, "blocks_available": 25, "blocks_total": 100})
    replica = type("R", (), {"engine": view})
    series = Series(0.05)
    for step in range(50_000):
        series.step(replica, step * 0.05, 0.01, 8)
    times = series["time"]
    assert POINTS / 4 < len(times) <= POINTS and times[0] == 0.0 and times[-1] > 2300
    assert series["kv_used"][3] == 0.75 and series.steps == 50_000
    assert len(series.thin(100)["time"]) <= 100


def test_results_are_json_and_pictures_are_drawn(tmp_path):
    run = Run(changed(workload="vtc-overload:duration=20", replicas=2))
    outcome = run.go()
    result = json.loads(json.dumps(as_result(outcome, run.series), allow_nan=False))
    assert result["label"] == "simulated" and result["scenario"]["until"] is None
    assert result["completed"] == outcome.figures["completed"] and len(result["load"]) == 2
    assert set(result["tenants"]) == {"client1", "client2"}
    folder = plot_folder(str(tmp_path / "new" / "folder"))
    drawn = draw_run(run, folder)
    assert [path.name for path in drawn] == ["latency.png", "load.png", "throughput.png", "tenants.png"]
    assert all(path.stat().st_size > 10_000 for path in drawn)
    assert plain({"a": (1.0, float("nan"))}) == {"a": [1.0, None]}


def test_throughput_over_time_adds_up_to_all_tokens():
    columns = Columns()
    for first, last, output in ((1.0, 3.0, 10), (2.0, 2.0, 1), (-1.0, -1.0, 0)):
        columns.append((0.0, 0.0, first, first, last, 0.0, 0.0, 3.0, 5, output, 0, 0, 0, 1, -1))
    assert _cumulated(columns, np.array([0.0, 2.0, 10.0])) == pytest.approx([0.0, 5.0, 11.0])
