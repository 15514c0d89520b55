"""Reasoning models: the experiments in their quick form, and the named workloads of this kind."""

import pytest

from penstock.core.errors import ConfigError
from penstock.reproduce.reasoning import conversations, thoughts
from penstock.reproduce.simulated import simulate
from penstock.reproduce.workloads import device
from penstock.workload.registry import make_workload


class Steady:
    def step(self, shape):
        return 0.01


def test_the_prefix_ends_where_the_thought_began():
    figures = thoughts(0, True)
    assert figures["reuse_beyond_thought_tokens"] == 0
    assert figures["kept_over_dropped"] > 1 and figures["reused_share_dropped"] > 0.3


def test_dropped_thoughts_leave_the_next_prompt():
    driver = conversations(1, 3, True)
    simulate(Steady(), device(), driver)
    for name, one in driver.results.items():
        program, turn = name.split(".")
        following = driver.results.get(f"{program}.{int(turn) + 1}")
        if following is not None:
            asked, said = one.request, one.request.output_tokens - one.request.think_tokens
            grown = following.request.prompt_tokens - asked.prompt_tokens
            assert said < grown <= said + 120


@pytest.mark.parametrize(
    "name", ["metropolis", "metropolis:sync", "metropolis:single", "metropolis:oracle", "text2sql"]
)
def test_named_workloads_run_to_their_end(name):
    name, _, mode = name.partition(":")
    small = {"agents": 6, "steps": 10, "mode": mode or "ooo"} if name == "metropolis" else {"count": 4}
    driver = make_workload(name, 0, **small)
    figures = simulate(Steady(), device(), driver).summary()
    assert figures["completed"] > 5 and not figures["failed"] and not figures["unfinished"]


def test_unknown_modes_and_traces_are_refused():
    with pytest.raises(ConfigError, match="ooo, sync"):
        make_workload("metropolis", mode="chaos")
    with pytest.raises(ConfigError, match="financial"):
        make_workload("text2sql", trace="none")
