"""Step time as a non-negative linear function of a step's shape, fitted to recorded steps."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from penstock.core.plan import PlanShape

FEATURES = ("one", "tokens", "sequences", "kv_tokens", "prefill_pairs", "samples")


class FittedCost(msgspec.Struct, frozen=True):
    """Linear cost model; one coefficient (seconds per unit) per entry of `FEATURES`."""

    coefficients: tuple[float, ...]

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        one, tokens, sequences, kv, pairs, samples = self.coefficients
        return (
            one
            + tokens * shape.tokens
            + sequences * shape.sequences
            + kv * shape.kv_tokens
            + pairs * shape.prefill_pairs
            + samples * shape.samples
        )


def fit(shapes: Sequence[PlanShape], seconds: Sequence[float]) -> FittedCost:
    """Fit to recorded steps by least *relative* squares, with no coefficient below zero.

    Negative coefficients are removed one at a time, the most negative first, and the rest fitted again.

    Args:
        shapes: one per recorded step.
        seconds: measured time of each, > 0.

    Raises:
        ValueError: fewer steps than coefficients, unequal lengths, or a time that is not positive.
    """
    if len(shapes) != len(seconds) or len(shapes) < len(FEATURES):
        raise ValueError(f"need at least {len(FEATURES)} steps and as many times, got {len(shapes)}")
    times = np.asarray(seconds, dtype=np.float64)
    if times.min() <= 0:
        raise ValueError("every recorded time must be positive")
    rows = [(1, s.tokens, s.sequences, s.kv_tokens, s.prefill_pairs, s.samples) for s in shapes]
    x = np.asarray(rows, dtype=np.float64) / times[:, None]
    scale = np.abs(x).max(axis=0)
    scale[scale == 0] = 1.0
    x /= scale
    active = list(range(len(FEATURES)))
    solution = np.zeros(len(FEATURES))
    while active:
        part, *_ = np.linalg.lstsq(x[:, active], np.ones(len(times)), rcond=None)
        if part.min() >= 0:
            solution[active] = part
            break
        active.pop(int(part.argmin()))
    return FittedCost(tuple(float(c) for c in solution / scale))
