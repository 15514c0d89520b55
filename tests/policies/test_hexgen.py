"""Hexgen-Flow's two policies: dispatch by speed and work, and the queue by slack."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.core.request import SLO, RequestSpec
from penstock.policies.estimate import alone_seconds
from penstock.policies.parse import parse_policy
from penstock.testing import conformance as kit


@dataclass
class Speed:
    """A device that needs so long per row."""

    row: float

    def step(self, shape):
        return self.row * shape.tokens


@dataclass
class Engine:
    cost: Any


@dataclass
class Replica:
    number: int
    row: float
    outstanding: int = 0
    engine: Engine = field(init=False)

    def __post_init__(self):
        self.engine = Engine(Speed(self.row))


def ask(number, prompt=100, answer=11.0):
    return RequestSpec(id=f"r{number}", prompt_ids=(1,) * prompt, length_score=answer)


def fleet(*rows):
    return [Replica(number, row) for number, row in enumerate(rows)]


def test_the_estimate_counts_prompt_and_predicted_answer():
    assert alone_seconds(Speed(0.5), ask(0)) == 0.5 * (100 + 10)
    assert alone_seconds(Speed(0.5), ask(0, answer=None)) == 50 and alone_seconds(None, ask(0)) == 0


lives = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 3)), min_size=1, max_size=40)
rows = st.lists(st.sampled_from([0.01, 0.02, 0.03]), min_size=1, max_size=5)


def serve(policy, replicas, life):
    """Yield (place, work before) of each request; some end in between."""
    work, going = [0.0] * len(replicas), []
    for number, (prompt, endings) in enumerate(life):
        spec = ask(number, prompt)
        place = policy.choose(spec, replicas, 0.0)
        yield place, list(work)
        seconds = alone_seconds(replicas[place].engine.cost, spec)
        work[place] += seconds
        going.append((spec.id, place, seconds))
        for _ in range(min(endings, len(going))):
            name, where, load = going.pop(0)
            policy.on_finish(name, where, 0.0)
            work[where] -= load


@settings(max_examples=60, deadline=None)
@given(rows, lives)
def test_speed_alone_always_takes_the_fastest(rows, life):
    replicas = fleet(*rows)
    for place, _ in serve(parse_policy("route", "hexgen(1)"), replicas, life):
        assert place == rows.index(min(rows))


@settings(max_examples=60, deadline=None)
@given(rows, lives)
def test_work_alone_always_takes_who_has_least_of_it(rows, life):
    replicas = fleet(*rows)
    for place, work in serve(parse_policy("route", "hexgen(0)"), replicas, life):
        assert work[place] <= min(work) + 1e-9


def test_finished_work_leaves_nothing_behind():
    policy, replicas = parse_policy("route", "hexgen(0.3)"), fleet(0.1, 0.3)
    for number in range(50):
        policy.choose(ask(number, 7 + number), replicas, 0.0)
    for number in range(50):
        policy.on_finish(
            f"r{number}", next(r for r, given in policy._given.items() if f"r{number}" in given), 0.0
        )
    assert set(policy._work.values()) == {0.0}


def test_the_published_code_never_forgets_and_counts_slow_work_half():
    policy, replicas = parse_policy("route", "hexgen-paper(0)"), fleet(1.0, 2.0)
    assert policy.choose(ask(0, 1, None), replicas, 0.0) == 0
    policy.on_finish("r0", 0, 0.0)
    assert policy.choose(ask(1, 1, None), replicas, 0.0) == 1
    policy.on_finish("r1", 1, 0.0)
    assert policy._work == {0: 1.0, 1: 1.0}


def test_who_would_be_late_first_goes_first():
    order = parse_policy("order", "urgency")

    class View:
        cost = Speed(0.1)

    order.bind(View())
    specs = {
        "no deadline": ask(0),
        "late": RequestSpec(id="a", prompt_ids=(1,), slo=SLO(deadline=-5.0)),
        "tight": RequestSpec(id="b", prompt_ids=(1,) * 100, slo=SLO(deadline=20.0)),
        "loose": RequestSpec(id="c", prompt_ids=(1,) * 10, slo=SLO(deadline=20.0)),
    }

    @dataclass
    class Waiting:
        spec: Any
        arrival: float = 1.0

    ranked = sorted(specs, key=lambda name: order.key(Waiting(specs[name]), 0.0))
    assert ranked == ["late", "tight", "loose", "no deadline"]


def test_both_conform_and_refuse_bad_weights():
    kit.check_order(lambda: parse_policy("order", "urgency"))
    for weight in ("2", "fcfs"):
        with pytest.raises(ConfigError):
            parse_policy("route", f"hexgen({weight})")
