"""Out-of-order agent simulation: the rules, their index, and runs against the lock-step truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.reproduce.metropolis import NotAhead, Unmoved, simulate, trace_of
from penstock.workload.metropolis import Dependencies, LockStep, OutOfOrder, Rules, SingleThread
from penstock.workload.metropolis_space import Graph, Grid, Town
from penstock.workload.metropolis_village import SMALLVILLE_RULES, VillageSpec, record_village

RULES = Rules(2, 1)
STEPS = 12


def out_of_order(rules=RULES):
    return lambda town: OutOfOrder(town, STEPS, rules)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 50))
def test_what_everybody_sees_and_does_is_that_of_lock_step(number, seed):
    truth, _ = trace_of(number, seed, RULES, lambda town: LockStep(town, STEPS))
    alone, _ = trace_of(number, seed, RULES, lambda town: SingleThread(town, STEPS))
    ours, gate = trace_of(number, seed, RULES, out_of_order())
    assert len(truth) == 8 * STEPS and truth == ours == alone
    assert gate.steps == [STEPS] * 8


@pytest.mark.parametrize("mutant", [NotAhead(2, 1), Unmoved(2, 1)])
def test_rules_a_little_laxer_are_wrong(mutant):
    wrong = 0
    for number in range(24):
        truth, _ = trace_of(number, 3, RULES, lambda town: LockStep(town, STEPS))
        wrong += trace_of(number, 3, mutant, out_of_order(mutant))[0] != truth
    assert wrong > 3


class Watched(OutOfOrder):
    """Checks the invariant of the proof after every step."""

    def finished(self, group, write):
        found = super().finished(group, write)
        town, steps = self.dependencies.town, self.steps
        for a in range(len(town)):
            for b in range(a):
                gap = abs(steps[a] - steps[b])
                if gap:
                    distance = town.space.distance(town.positions[a], town.positions[b])
                    assert distance > RULES.radius + (gap - 1) * RULES.speed
        return found


@pytest.mark.parametrize("number", range(6))
def test_agents_at_different_steps_stay_apart(number):
    _, gate = trace_of(number, 1, RULES, lambda town: Watched(town, STEPS, RULES))
    assert gate.dependencies.skew >= 1


def test_blockers_and_clusters_on_a_line():
    town = Town(Grid(100), [(0, 0), (3, 0), (6, 0), (10, 0)], 3)
    state = Dependencies(town, RULES)
    everybody = {0, 1, 2, 3}
    assert state.cluster(0, everybody) == (0, 1, 2)  # 3 apart is radius + speed; links carry on
    assert state.cluster(3, everybody) == (3,) and state.blocker((3,)) is None
    state.advance((3,))
    assert state.blocker((3,)) == 2  # 4 = radius + 2 speed
    town.write(3, (11, 0), 0)
    assert state.blocker((3,)) is None
    state.advance((3,))
    assert state.blocker((3,)) == 2 and state.skew == 2 and state.lowest == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 25)), min_size=2, max_size=30), st.data())
def test_the_index_finds_exactly_who_is_near(places, data):
    grid = Grid(41, 26)
    town = Town(grid, places, 5)
    mover = data.draw(st.integers(0, len(places) - 1))
    places[mover] = data.draw(st.tuples(st.integers(0, 40), st.integers(0, 25)))
    town.write(mover, places[mover], 0)
    for radius in (0, 3, 5, 17):
        want = [b for b in range(1, len(places)) if grid.distance(places[0], places[b]) <= radius]
        assert town.within(0, radius) == want


def test_graphs_measure_shortest_paths():
    ring = Graph({0: [1], 1: [2], 2: [3], 3: [4], 4: [5], 5: [0]})
    assert ring.distance(0, 3) == 3 and ring.distance(5, 1) == 2 and ring.neighbours[0] == [1, 5]
    with pytest.raises(ConfigError, match="connected"):
        Graph({0: [1], 2: [3]})


def test_bad_worlds_are_refused():
    with pytest.raises(ConfigError, match="radius"):
        Rules(1, 2)
    with pytest.raises(ConfigError, match="tile"):
        Grid(0)


def test_villages_are_reproducible_and_their_people_keep_the_rules():
    spec = VillageSpec(agents=30, steps=40)
    one, two = record_village(spec, 5), record_village(spec, 5)
    assert one.positions == two.positions and one.calls == two.calls
    for before, after in zip(one.positions, one.positions[1:], strict=False):
        moved = [one.grid.distance(a, b) for a, b in zip(before, after, strict=True)]
        assert max(moved) <= SMALLVILLE_RULES.speed
    calls = [call for step in one.calls for asked in step.values() for call in asked]
    prompts = np.mean([sum(span.length for span in call.prompt) for call in calls])
    assert 600 < prompts < 690 and 18 < np.mean([call.output_tokens for call in calls]) < 26


def test_far_agents_need_not_wait_for_each_other():
    village = record_village(VillageSpec(agents=12, steps=20), 0)
    sync, ours, oracle, single = (simulate(village, gate, 2) for gate in ("sync", "ooo", "oracle", "single"))
    assert oracle <= ours * 1.01 and ours < sync < single
