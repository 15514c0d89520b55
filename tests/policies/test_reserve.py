"""Room for final sizes makes preemption impossible; LightLLM's peak check admits more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.policies.parse import parse_policy
from penstock.reproduce.fairness import Probe, play, random_world
from penstock.testing.builders import make_request, make_scheduler, make_spec


def admitted(reserve, requests, blocks=10, page=1):
    spec = make_spec(blocks=blocks, slots=8, page_size=page, max_model_len=blocks * page)
    s = make_scheduler(spec, max_tokens=1000, reserve=reserve, order="fcfs", prefix_caching=False)
    for number, (prompt, output) in enumerate(requests):
        s.submit(make_request(f"r{number}", prompt, max_tokens=output), 0.0)
    s.plan(0.0)
    return len(s.state.running)


def test_final_counts_what_everybody_may_reach():
    assert admitted("known(0)", [(2, 4)] * 4) == 4
    assert admitted("final", [(2, 3)] * 4) == 2
    assert admitted("final", [(2, 4)] * 4) == 1
    assert admitted("final", [(3, 3), (3, 3)], blocks=4, page=4) == 2
    assert admitted("final", [(3, 3), (3, 7)], blocks=4, page=4) == 1


def test_peak_counts_on_the_blocks_of_those_that_end_sooner():
    # Final sizes 9 + 3; but when the short one has ended (one token each: 2 + 3 = 5), the long one may grow.
    assert admitted("peak", [(1, 8), (2, 1)]) == 2
    assert admitted("final", [(1, 8), (2, 1)]) == 1
    assert admitted("peak", [(1, 8), (2, 8)]) == 1


@pytest.mark.parametrize("caching", [False, True])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_nothing_is_ever_preempted_under_final(caching, seed):
    world = random_world(np.random.default_rng(seed), shared=caching)
    out = play(world, Probe(), seconds=400.0, order="fcfs", reserve="final")
    assert out.preemptions == 0 and out.probe.admitted


def test_final_keeps_what_the_running_still_need_obtainable():
    world = random_world(np.random.default_rng(5), shared=True)
    short = []

    def check(engine):
        s = engine.scheduler.state
        owed = sum(s.kv.pages(one.max_total) - len(one.blocks) for one in s.running)
        short.append(owed > s.kv.available)

    play(world, Probe(), check, order="fcfs", reserve="final")
    assert short and not any(short)


def test_reserves_take_no_arguments():
    for text in ("final(3)", "peak(1)"):
        with pytest.raises(ConfigError, match="reserve"):
            parse_policy("reserve", text)
