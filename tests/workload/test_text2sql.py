"""Questions that become SQL: deadlines shared out among stages, and the driver that sends them."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config.settings import ScheduleConfig
from penstock.policies.route.round_robin import RoundRobin
from penstock.reproduce.hexgen import CardCost, shares
from penstock.sim.build import capacities, replica_maker
from penstock.sim.simulation import Simulation
from penstock.workload.metrics.collector import Collector
from penstock.workload.text2sql import (
    SECONDS,
    STAGES,
    STANDARD,
    Question,
    Remaining,
    Stage,
    Text2Sql,
    mean_times,
    questions,
    stage_share,
)

TIMES = {name: Fraction(value).limit_denominator(10_000) for name, value in mean_times().items()}
TOTAL = sum(TIMES[name] for name in STANDARD)


def without_skips():
    """The standard path; no revision is left to strike off when its tests begin."""
    return list(STANDARD)


def test_the_mean_times_give_the_published_default_deadline():
    assert abs(float(TOTAL) - 52.95) / 52.95 < 0.05 and len(STANDARD) == 15


def test_shares_telescope_at_standard_times():
    left, remaining = TOTAL, Remaining()
    for name in without_skips():
        share = stage_share(left, name, remaining.enter(name), TIMES)
        assert share == TIMES[name]
        left -= share
    assert left == 0


@settings(max_examples=100, deadline=None)
@given(st.fractions(1, 500), st.lists(st.integers(0, 12), max_size=4))
def test_stages_that_take_their_shares_take_the_deadline(total, loops):
    """On the standard path exactly; extra revisions take shares of what is left and never more."""
    path = without_skips()
    for at in loops:
        path.insert(max(6, min(at, 9)), "revise")
    left, remaining = total, Remaining()
    for name in path:
        share = stage_share(left, name, remaining.enter(name), TIMES)
        assert 0 < share <= left
        left -= share
    assert left == 0


def test_testing_ends_revising():
    remaining = Remaining()
    for name in ("information", "keywords", "candidate"):
        remaining.enter(name)
    assert "revise" in remaining.later
    assert remaining.enter("unit-test") == ["information"] * 3 + [
        "generate-test", "unit-test", "evaluate", "unit-test",
    ]  # fmt: skip


class Steady:
    def step(self, shape):
        return 0.01


def run(work, deadline=60.0):
    driver = Text2Sql(work, deadline)
    seen = []

    class Noting(Collector):
        def arrived(self, request, now):
            seen.append((now, request))
            super().arrived(request, now)

    schedule = ScheduleConfig(order="urgency", admit="unlimited", max_num_batched_tokens=65536)
    maker = replica_maker(capacities(100_000), Steady(), schedule)
    collector = Noting()
    Simulation([maker], driver, collector, RoundRobin()).run()
    return driver, seen, collector


def test_stages_follow_each_other_and_calls_of_one_run_together():
    stages = (
        Stage("information", ((50, 1),)),
        Stage("candidate", ((400, 8), (300, 4))),
        Stage("unit-test", ((40, 2),)),
    )
    driver, seen, collector = run([Question(1.0, stages)])
    assert [round(now, 6) for now, _ in seen] == [1.0, 1.01, 1.01, 1.09]
    assert [request.turn.index for _, request in seen] == [0, 1, 2, 3] and seen[-1][1].turn.last
    assert all(request.length_score == STAGES[request.turn.tool][1] for _, request in seen)
    assert abs(driver.took[0] - 0.11) < 1e-9 and driver.attainment(0.2) == 1 and driver.attainment(0.1) == 0
    assert collector.summary()["jobs"] == 1
    assert seen[0][1].slo.deadline > 0 > run([Question(1.0, stages)], -1.0)[1][0][1].slo.deadline


def test_a_failed_call_ends_its_question_only():
    too_long = Question(0.0, (Stage("candidate", ((2_000_000, 4), (10, 4))), Stage("revise", ((9, 9),))))
    driver, seen, _ = run([too_long, Question(0.5, (Stage("revise", ((9, 9),)),))])
    assert driver.failed == 1 and list(driver.took) == [1] and len(seen) == 3


def test_questions_are_the_same_at_every_rate():
    one, two = questions("financial", 0.1, 200, 3), questions("financial", 0.2, 200, 3)
    assert [q.stages for q in one] == [q.stages for q in two]
    assert all(abs(a.arrival - 2 * b.arrival) < 1e-6 for a, b in zip(one, two, strict=True))
    calls = [sum(len(stage.calls) for stage in q.stages) for q in one]
    assert 14 < sum(calls) / 200 < 17.5  # 15.9 in the published trace


def test_card_costs_give_the_published_stage_times_back():
    for card, times in SECONDS.items():
        cost = CardCost(card)
        for (prompt, answer), seconds in zip(STAGES.values(), times, strict=True):
            assert abs(cost.token * prompt + cost.decode * answer - seconds) <= 0.25 * seconds


def test_the_experiment_on_shares_holds():
    assert shares(0, True) == {"not_exact": 0.0, "not_mean": 0.0}
