"""Fits recover what made the times, never fall with more work, survive stalls and a trip through a file."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.core.plan import PlanShape
from penstock.cost.fitted import MINIMUM, FittedCost, fit, load_fit, mape
from penstock.cost.nnls import nnls


def shapes(count, seed=0):
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        decodes, prefill = rng.randrange(65), rng.choice([0, 0, rng.randrange(512)])
        decodes = decodes or not prefill
        contexts = [rng.randrange(1, 2000) for _ in range(decodes)]
        context = rng.randrange(1000) if prefill else 0
        pairs = prefill * context + prefill * (prefill + 1) // 2
        sequences = decodes + bool(prefill)
        counts = (decodes + prefill, sequences, decodes, prefill, sum(contexts), pairs, sequences, context)
        made.append(PlanShape(*counts, max(contexts, default=0)))
    return made


def device(shape):
    """A made-up device: bound by weights up to 48 rows, then by arithmetic; tiles of 16 rows."""
    rows = -(-shape.tokens // 16) * 16
    return 2e-3 + max(4e-3, 8.3e-5 * rows) + 2e-8 * shape.kv_tokens + 1e-9 * shape.prefill_pairs


def test_a_fit_predicts_steps_it_has_not_seen():
    data, held_out = shapes(400), shapes(100, seed=7)
    model = fit(data, [device(s) for s in data])
    assert mape(model, held_out, [device(s) for s in held_out]) < 0.03
    assert model.mape < 0.03 and model.steps == 400 and "400 recorded steps" in model.describe()


def test_stalled_steps_do_not_pull():
    rng = random.Random(1)
    data, held_out = shapes(400), shapes(100, seed=7)
    times = [device(s) * (rng.uniform(2, 5) if rng.random() < 0.05 else 1) for s in data]
    assert mape(fit(data, times), held_out, [device(s) for s in held_out]) < 0.04


def test_no_term_is_negative_and_the_curve_rises():
    rng = random.Random(3)
    data = shapes(80)
    model = fit(data, [1e-3 + rng.random() * 1e-3 for _ in data])
    assert all(c >= 0 for c in model.linear.values())
    heights = [seconds for _, seconds in model.curve]
    assert heights == sorted(heights) and heights[0] >= 0


@pytest.mark.parametrize(("count", "times"), [(MINIMUM - 1, 1.0), (20, 0.0)])
def test_a_fit_refuses_what_it_cannot_use(count, times):
    with pytest.raises(ValueError):
        fit(shapes(count), [times] * count)
    with pytest.raises(ValueError):
        fit(shapes(20), [1.0] * 19)


def test_a_saved_fit_predicts_the_same(tmp_path):
    data = shapes(100)
    model = fit(data, [device(s) for s in data])
    model.save(tmp_path / "cost.json")
    again = load_fit(tmp_path / "cost.json")
    assert [again.step(s) for s in data] == [model.step(s) for s in data]
    assert again.describe() == model.describe()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "other"}'])
def test_what_is_no_fit_is_refused_by_name(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ConfigError, match=r"x\.json is not a fitted cost model"):
        load_fit(tmp_path / "x.json")


def test_terms_are_checked():
    with pytest.raises(ValueError, match="'colour' is not a term"):
        FittedCost([(0, 0.0), (1, 1.0)], {"colour": 1.0})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 7))
def test_nnls_is_optimal(seed, columns):
    """Karush-Kuhn-Tucker: no descent along a free coefficient, none upwards from a zero one."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(12, columns)), rng.normal(size=12)
    x = nnls(a, b)
    gradient = a.T @ (a @ x - b)
    assert (x >= 0).all()
    assert np.abs(gradient[x > 0]).max(initial=0) < 1e-6 and gradient[x == 0].min(initial=0) > -1e-6


def test_the_correction_helps_where_terms_multiply():
    """Long contexts that push weights out of a cache slow every row down; no sum of terms says that."""

    def cramped(shape):
        return device(shape) * (1 + 0.15 * min(1.0, shape.kv_tokens / 20_000))

    data, held_out = shapes(1500), shapes(200, seed=7)
    times, wanted = [cramped(s) for s in data], [cramped(s) for s in held_out]
    plain, corrected = fit(data, times, correct=False), fit(data, times)
    assert mape(corrected, held_out, wanted) < 0.9 * mape(plain, held_out, wanted)
