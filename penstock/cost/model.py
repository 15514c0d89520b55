"""The cost protocol: one object that serves preemption, shaping, routing, planning and the simulator."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.core.plan import PlanShape


class CostModel(Protocol):
    """Predicts how long a step takes."""

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        ...

    def describe(self) -> str:
        """Return one line that says what is modelled, for tables and logs."""
        ...


def prefill_shape(start: int, tokens: int) -> PlanShape:
    """Return the shape of a step that computes ``tokens`` tokens of one sequence from ``start`` on."""
    pairs = tokens * start + tokens * (tokens + 1) // 2
    return PlanShape(tokens, 1, 0, tokens, 0, pairs, 1, start)


def flatten(shape: PlanShape, layers: int) -> PlanShape:
    """Return the shape with a cohort's rows as so many fewer rows that pass all layers.

    For models that know whole steps only. Arithmetic and attention are kept; that a layered prefill reads
    fewer experts is lost.

    Args:
        shape: a step's.
        layers: of the model; 0, unknown, leaves the shape as it is.
    """
    cohort = shape.cohort_tokens
    if not cohort or not layers:
        return shape
    share = min(1.0, shape.cohort_layers / layers)
    absent = cohort - round(cohort * share)
    kept = 1.0 - cohort / shape.prefill_tokens * (1.0 - share)
    return msgspec.structs.replace(
        shape,
        tokens=shape.tokens - absent,
        prefill_tokens=shape.prefill_tokens - absent,
        prefill_pairs=round(shape.prefill_pairs * kept),
        prefill_context=round(shape.prefill_context * kept),
        cohort_tokens=0,
        cohort_layers=0,
    )


def recompute_seconds(cost: CostModel, tokens: int) -> float:
    """Return the seconds lost by giving up the KV of ``tokens`` tokens of one sequence.

    The step's fixed part is left out: recomputation rides along in steps that run anyway.
    """
    if tokens <= 0:
        return 0.0
    return max(0.0, cost.step(prefill_shape(0, tokens)) - cost.step(prefill_shape(0, 1)))
