"""The experiments on workloads and figures, in their quick form, against their own bars."""

import pytest

from penstock.reproduce.base import load_all


@pytest.mark.parametrize("name", ["burstgpt-generator", "goodput-search"])
def test_properties_hold_even_in_a_quick_run(name):
    experiment = load_all()[name]
    figures = experiment.run(0, True)
    for bar in experiment.bars:
        assert bar.figure in figures
        assert bar.floor is None or figures[bar.figure] >= bar.floor
        assert bar.ceiling is None or figures[bar.figure] <= bar.ceiling


def test_hidden_thoughts_delay_the_first_visible_token_and_shown_ones_do_not():
    experiment = load_all()["reasoning-service"]
    figures = experiment.run(0, True)
    assert {bar.figure for bar in experiment.bars} <= set(figures)
    assert figures["ttfvt_over_ttft"] > 1
    assert figures["shown_ttfvt_over_ttft"] == 1
    assert figures["stretch"] > figures["plain_stretch"]
