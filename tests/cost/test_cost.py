"""Cost models: a fit recovers what generated the times; the roofline has its two regimes."""

import random

import pytest

from penstock.core.plan import PlanShape
from penstock.cost.fitted import FEATURES, FittedCost, fit
from penstock.cost.hardware import Hardware
from penstock.cost.model import prefill_shape, recompute_seconds
from penstock.cost.models import model_shape
from penstock.cost.roofline import Roofline
from penstock.policies.preempt.least_loss import LeastLoss
from penstock.testing.conformance import FixedView, population


def shapes(count, seed=0):
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        decodes, prefill = rng.randrange(64), rng.randrange(512)
        kv, pairs = decodes * rng.randrange(1, 2000), prefill * rng.randrange(1, 2000)
        made.append(PlanShape(decodes + prefill, decodes + 1, decodes, prefill, kv, pairs, decodes + 1))
    return made


def test_fit_recovers_the_coefficients():
    truth = FittedCost((2e-3, 1e-5, 3e-5, 2e-8, 1e-9, 5e-5))
    data = shapes(200)
    model = fit(data, [truth.step(s) for s in data])
    held_out = shapes(50, seed=7)
    assert [model.step(s) for s in held_out] == pytest.approx([truth.step(s) for s in held_out], rel=1e-6)


def test_fit_is_never_negative():
    rng = random.Random(3)
    data = shapes(40)
    model = fit(data, [1e-3 + rng.random() * 1e-3 for _ in data])
    assert min(model.coefficients) >= 0


@pytest.mark.parametrize(("count", "bad"), [(len(FEATURES) - 1, None), (20, 0.0)])
def test_fit_refuses_what_it_cannot_use(count, bad):
    data = shapes(count)
    with pytest.raises(ValueError):
        fit(data, [1.0 if bad is None else bad] * count)


def roofline(**changes):
    model = model_shape("llama-3.1-8b")
    return Roofline(model, Hardware(**({"flops": 1e15, "bandwidth": 4.8e12} | changes)))


def test_decode_is_bound_by_bytes_and_prefill_by_arithmetic():
    one, more = PlanShape(1, 1, 1, 0, 1000, 0, 1), PlanShape(8, 8, 8, 0, 8000, 0, 8)
    assert roofline().step(more) < 1.2 * roofline().step(one), "weights are read once for the whole batch"
    prompt = prefill_shape(0, 4096)
    assert roofline(flops=2e15).step(prompt) < 0.6 * roofline().step(prompt)
    assert roofline(bandwidth=1e13).step(prompt) == pytest.approx(roofline().step(prompt), rel=0.02), (
        "only activations still travel"
    )


def test_least_loss_prices_victims_with_the_cost_model():
    cost, view = roofline(), FixedView()
    candidates = population(20, 3)
    chosen = LeastLoss(cost).choose(candidates, 1, view)
    priced = [recompute_seconds(cost, s.planned) for s in candidates if s.blocks]
    assert recompute_seconds(cost, chosen.planned) == min(priced)
