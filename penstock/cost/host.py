"""CPU time of the engine around its steps: planning before, landing and handing out after."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from penstock.core.plan import StepPlan


class HostTimes(msgspec.Struct, frozen=True, kw_only=True):
    """A fixed part and one per sequence of each; seconds.

    Implements `penstock.sim.executor.HostCost`, and `ready` is what a simulated replica takes.
    """

    plan: float = 0.0
    plan_sequence: float = 0.0
    land: float = 0.0
    land_sequence: float = 0.0

    def seconds(self, plan: StepPlan) -> float:
        """Return the time from looking at the inbox to the start of the step."""
        return self.plan + self.plan_sequence * len(plan.items)

    def ready(self, now: float, outputs: int) -> float:
        """Return when the engine, having landed a step at ``now``, looks at its inbox again."""
        return now + self.land + self.land_sequence * outputs if outputs else now


def fit_host(plans: Sequence[tuple[int, float]], landings: Sequence[tuple[int, float]]) -> HostTimes:
    """Fit to recorded (sequences, seconds) of planning and of landing; robust to stalls of the machine."""
    plan, plan_sequence = _line(plans)
    land, land_sequence = _line(landings)
    return HostTimes(plan=plan, plan_sequence=plan_sequence, land=land, land_sequence=land_sequence)


def _line(samples: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return intercept and slope, neither negative, through the medians of each count of sequences."""
    by_count: dict[int, list[float]] = {}
    for count, seconds in samples:
        by_count.setdefault(count, []).append(max(seconds, 0.0))
    if not by_count:
        return 0.0, 0.0
    x = np.array(list(by_count), dtype=np.float64)
    y = np.array([float(np.median(group)) for group in by_count.values()])
    weight = np.sqrt([float(len(group)) for group in by_count.values()])
    if len(x) == 1:
        return float(y[0]), 0.0
    slope, intercept = np.polyfit(x, y, 1, w=weight)
    if slope < 0:
        return float(np.average(y, weights=weight**2)), 0.0
    if intercept < 0:
        return 0.0, float((weight**2 * x * y).sum() / (weight**2 * x * x).sum())
    return float(intercept), float(slope)
