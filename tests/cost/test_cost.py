"""The cost protocol's helpers, and the policy that prices victims with it."""

from penstock.core.plan import PlanShape
from penstock.cost.model import prefill_shape, recompute_seconds
from penstock.cost.spec import load_cost
from penstock.policies.preempt.least_loss import LeastLoss
from penstock.testing.conformance import FixedView, population


def test_prefill_shape_counts_pairs_and_context():
    shape = prefill_shape(10, 3)
    assert shape == PlanShape(3, 1, 0, 3, 0, 11 + 12 + 13, 1, 10)


def test_recomputation_leaves_the_fixed_part_out():
    cost = load_cost("llama-3.1-8b@h200")
    assert recompute_seconds(cost, 0) == recompute_seconds(cost, 1) == 0
    assert recompute_seconds(cost, 4000) > recompute_seconds(cost, 2000) > 0


def test_least_loss_prices_victims_with_the_cost_model():
    cost, view = load_cost("llama-3.1-8b@h200"), FixedView()
    candidates = population(20, 3)
    chosen = LeastLoss(cost).choose(candidates, 1, view)
    priced = [recompute_seconds(cost, s.planned) for s in candidates if s.blocks]
    assert recompute_seconds(cost, chosen.planned) == min(priced)
