"""Tuning: legal candidates only, common prefixes, the best found on a model whose optimum is known."""

import tomllib

import msgspec
import pytest

from penstock.config.load import load_config
from penstock.core.errors import ConfigError
from penstock.sim.run import Outcome, Refusal, Scenario
from penstock.sim.tune import as_report, as_toml, reasons, tune
from penstock.sim.tune_space import (
    apply,
    as_texts,
    changes,
    crossed,
    first_round,
    space_of,
    traits_of,
)

BASE = Scenario(workload="poisson:rate=5,count=900", cost="llama-3.1-8b@l4", slo={"ttft": 1.0})


def landscape(worth):
    """Return an evaluator whose score is a product of what each value is worth, and the scenarios it saw."""
    seen = []

    def evaluate(scenarios):
        for scenario in scenarios:
            seen.append(scenario)
            plain = msgspec.to_builtins(scenario.schedule)
            score = 10.0
            for name, values in worth.items():
                score *= values.get(str(plain[name]), 1.0)
            sent = scenario.limit or 900
            figures = {"request_goodput": score, "total_token_throughput": score, "slo_attainment": 0.5}
            figures |= {"completed": sent, "failed": 0, "unfinished": 0}
            figures |= {"p99_ttft_ms": 1.0, "p99_tpot_ms": 1.0}
            if scenario.schedule.max_num_seqs == 512:
                yield Refusal("schedule.max_num_seqs", "too many for this device")
            else:
                yield Outcome(scenario=scenario, figures=figures, tenants={}, labels={})

    return evaluate, seen


WORTH = {
    "order": {"lpm": 1.5},
    "max_num_seqs": {"128": 1.2, "256": 1.3, "512": 9.0},
    "admit": {"queue-bound(32)": 2.0},
    "shape": {"prefill-first": 0.5},
    "preempt": {"newest": 1.0001},
}


def test_the_known_optimum_is_found_pruned_explained_and_written(tmp_path):
    evaluate, seen = landscape(WORTH)
    found = tune(BASE, evaluate)
    assert changes(found.best.settings, found.default.settings) == {
        "order": "lpm",
        "max_num_seqs": "256",
        "admit": "queue-bound(32)",
    }
    assert found.gain == pytest.approx(1.5 * 1.3 * 2.0)
    assert [(one.setting, round(found.best.score / one.score, 3)) for one in found.ablations] == [
        ("admit", 2.0),
        ("order", 1.5),
        ("max_num_seqs", 1.3),
    ]
    assert {scenario.limit for scenario in seen} == {0, 100, 300}
    assert len({scenario.seed for scenario in seen}) == 1
    path = tmp_path / "best.toml"
    path.write_text(as_toml(found, "penstock tune ..."))
    schedule = load_config(path).schedule
    assert (schedule.order, schedule.max_num_seqs, schedule.admit) == ("lpm", 256, "queue-bound(32)")
    assert "admit=queue-bound(32): going back to queue-bound(4096) loses 50 %" in path.read_text()
    assert set(tomllib.loads(path.read_text())) == {"schedule"}
    assert as_report(found)["gain"] == pytest.approx(3.9)


def test_the_same_search_twice_finds_the_same():
    one, two = (tune(BASE, landscape(WORTH)[0], seed=3) for _ in range(2))
    assert as_report(one) == as_report(two)


def test_nothing_better_is_said_so():
    found = tune(BASE, landscape({})[0])
    assert found.gain == 1.0 and found.best.settings == found.default.settings
    assert "nothing tried beats the default" in reasons(found)[0]


def test_a_default_that_cannot_run_is_an_error():
    broken = msgspec.structs.replace(BASE, schedule=msgspec.structs.replace(BASE.schedule, max_num_seqs=512))
    with pytest.raises(ConfigError, match="default composition"):
        tune(broken, landscape({})[0])


def test_given_values_replace_ours_and_only_legal_compositions_run():
    evaluate, seen = landscape({})
    tune(BASE, evaluate, given={"order": ["fcfs", "nosuch", "lpm > fcfs"], "max_num_seqs": ["8"]})
    orders = {scenario.schedule.order for scenario in seen}
    assert "fcfs" in orders and "nosuch" not in orders
    assert {scenario.schedule.max_num_seqs for scenario in seen} <= {64, 8}


def test_what_requests_carry_decides_what_is_tried():
    plain = traits_of(BASE)
    assert (plain.tenants, plain.scores, plain.objectives, plain.programs) == (1, False, False, False)
    space = space_of(plain, {})
    assert "vtc" not in space["order"] and "slo" not in space["shape"] and space["retain"] == ["none"]
    rich = traits_of(msgspec.structs.replace(BASE, workload="poisson:count=9,tau=0.5,ttft=1"))
    assert rich.scores and rich.objectives
    assert {"sjf", "ltr", "edf"} <= set(space_of(rich, {})["order"])
    agents = traits_of(msgspec.structs.replace(BASE, workload="agent-bfcl:programs=5"))
    assert agents.programs and "program-fcfs" in space_of(agents, {})["order"]
    assert traits_of(msgspec.structs.replace(BASE, workload="vtc-overload")).tenants == 2


def test_candidates():
    import numpy as np

    space = {"order": ["fcfs", "lpm"], "max_num_seqs": ["64", "128"]}
    default = as_texts(BASE, space)
    assert default == {"order": "priority > fcfs", "max_num_seqs": "64"}
    many = first_round(space, default, 3, np.random.default_rng(0))
    assert many[0] == default and {"order": "lpm", "max_num_seqs": "64"} in many
    assert len({tuple(one.items()) for one in many}) == len(many)
    best, next_ = default | {"order": "lpm"}, default | {"order": "fcfs", "max_num_seqs": "128"}
    assert crossed([best, next_], default, 5)[0] == {"order": "lpm", "max_num_seqs": "128"}
    assert apply(BASE, {"order": "nosuch"}) is None and apply(BASE, {"max_num_seqs": "0"}) is None
