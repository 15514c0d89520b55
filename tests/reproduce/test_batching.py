"""Quick versions of the batching experiments meet their bars where those do not need long runs."""

import pytest

from penstock.reproduce.base import EXPERIMENTS, load_all

load_all()
QUICK = ["sarathi-steps", "splitfuse-forwards", "layered-steps", "layered-experts", "splitfuse-throughput"]


@pytest.mark.parametrize("name", QUICK)
def test_quick_runs_meet_their_bars(name):
    experiment = EXPERIMENTS[name]
    figures = experiment.run(3, True)
    for bar in experiment.bars:
        value = figures[bar.figure]
        assert bar.floor is None or value >= bar.floor, bar.figure
        assert bar.ceiling is None or value <= bar.ceiling, bar.figure


def test_capacity_search_stops_at_the_resolution():
    from penstock.reproduce.sarathi import bisect

    for edge in (0.07, 0.5, 3.3, 100.0):
        found = bisect(lambda rate, edge=edge: rate <= edge, 0.5)
        assert found <= edge <= found * 1.026


def test_stand_in_lengths_resemble_the_recorded_ones(monkeypatch, tmp_path):
    import itertools

    import numpy as np

    from penstock.reproduce.simulated import recorded_lengths

    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    for name, prompt, output in (("sharegpt_8k", 2340, 439), ("arxiv_summarization", 2588, 291)):
        pairs, recorded = recorded_lengths(name)
        assert not recorded
        drawn = np.array(list(itertools.islice(pairs.draws(np.random.SeedSequence(1)), 5000)))
        assert drawn.min() >= 1
        assert abs(drawn.mean(axis=0) / (prompt, output) - 1).max() < 0.25
