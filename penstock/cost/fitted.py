"""Step time fitted to recorded steps: a rising curve over rows, linear terms, and a smooth correction.

The curve is piecewise linear with a knot at each power of two and may bend either way, so that it follows
weights read once, tiles filled up and caches overflowed without knowing of them. All terms are at least zero:
more work never takes less time. What is left systematically is a factor over (rows, attention work).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, log2
from pathlib import Path

import numpy as np

from penstock.core.errors import ConfigError
from penstock.core.plan import PlanShape
from penstock.cost.grid import line
from penstock.cost.model import flatten
from penstock.cost.nnls import Array, nnls

TERMS = (
    "sequences",
    "samples",
    "kv_tokens",
    "kv_max",
    "prefill_pairs",
    "prefill_context",
    "decoding",
    "prefilling",
)
"""Linear terms: fields of `PlanShape`, and whether the step holds a decode, or a prefill."""
KIND = "penstock-fitted-cost-1"
MINIMUM = 16
"""Fewest steps that a fit is made from."""
SHRINK = 4.0
"""Steps' worth of belief, per node of the correction, that no correction is needed."""


class FittedCost:
    """Fitted cost model.

    Args:
        curve: (rows, seconds) knots.
        linear: seconds per unit of some of `TERMS`.
        correction: by (rows, attention work), two nodes a doubling, the logarithm of a factor; may be empty.
        mape: mean absolute relative error over the steps it was fitted to.
        steps: how many these were.
        layers: of the model, for layered prefill; 0 where it is not known.
    """

    def __init__(
        self,
        curve: Sequence[tuple[int, float]],
        linear: Mapping[str, float],
        correction: Sequence[Sequence[float]] = (),
        mape: float = 0.0,
        steps: int = 0,
        layers: int = 0,
    ) -> None:
        unknown = set(linear) - set(TERMS)
        if unknown:
            raise ValueError(f"{unknown.pop()!r} is not a term; there are {', '.join(TERMS)}")
        self.curve = tuple((int(n), float(s)) for n, s in curve)
        self.linear = dict(linear)
        self.correction = tuple(tuple(map(float, row)) for row in correction)
        self.mape, self.steps, self.layers = mape, steps, layers
        self._rows = line(self.curve, max(n for n, _ in self.curve))
        self._weights = tuple(self.linear.get(term, 0.0) for term in TERMS)

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        shape = flatten(shape, self.layers)
        seconds = self._plain(shape)
        return seconds * exp(self._bend(shape)) if self.correction else seconds

    def _plain(self, shape: PlanShape) -> float:
        rows, table = shape.tokens, self._rows
        last = len(table) - 1
        if rows <= last:
            seconds = table[rows]
        else:
            seconds = table[last] + (rows - last) * (table[last] - table[last // 2]) / (last - last // 2)
        sequences, samples, kv, longest, pairs, context, decoding, prefilling = self._weights
        return (
            seconds
            + sequences * shape.sequences
            + samples * shape.samples
            + kv * shape.kv_tokens
            + longest * shape.kv_max
            + pairs * shape.prefill_pairs
            + context * shape.prefill_context
            + (decoding if shape.decodes else 0.0)
            + (prefilling if shape.prefill_tokens else 0.0)
        )

    def _bend(self, shape: PlanShape) -> float:
        grid = self.correction
        i, u = _place(shape.tokens, len(grid))
        j, v = _place(shape.kv_tokens + shape.prefill_pairs, len(grid[0]))
        low, high = grid[i], grid[i + 1]
        at_low = low[j] + v * (low[j + 1] - low[j])
        return at_low + u * (high[j] + v * (high[j + 1] - high[j]) - at_low)

    def describe(self) -> str:
        """Return one line that says what is modelled."""
        return f"fit of {self.steps} recorded steps, {100 * self.mape:.1f} % mean error on them"

    def save(self, path: Path) -> None:
        """Write the model as JSON."""
        text = json.dumps(
            {
                "kind": KIND,
                "curve": self.curve,
                "linear": self.linear,
                "correction": self.correction,
                "mape": self.mape,
                "steps": self.steps,
                "layers": self.layers,
            },
            indent=1,
        )
        path.write_text(text + "\n", encoding="utf-8")


def _place(amount: float, nodes: int) -> tuple[int, float]:
    """Where an amount lies on an axis of two nodes a doubling: lower node, share of the way to the next."""
    x = min(2.0 * log2(amount + 1.0), nodes - 1.0)
    i = min(int(x), nodes - 2)
    return i, x - i


def load_fit(path: Path) -> FittedCost:
    """Read a model that `FittedCost.save` wrote.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["kind"] != KIND:
            raise ValueError(f"its kind is {data['kind']!r}, not {KIND!r}")
        return FittedCost(
            data["curve"], data["linear"], data["correction"], data["mape"], data["steps"], data["layers"]
        )
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise ConfigError("cost", f"{path} is not a fitted cost model: {err}") from err


def fit(
    shapes: Sequence[PlanShape], seconds: Sequence[float], *, correct: bool = True, layers: int = 0
) -> FittedCost:
    """Fit to recorded steps by least relative error, outliers counting less.

    Args:
        shapes: one per recorded step.
        seconds: measured time of each, > 0.
        correct: add the smooth correction where there is enough to learn it from.
        layers: of the model, to price layered prefill by; 0 where it is not known.

    Raises:
        ValueError: too few steps, unequal lengths, or a time that is not positive.
    """
    if len(shapes) != len(seconds) or len(shapes) < MINIMUM:
        raise ValueError(
            f"need at least {MINIMUM} steps and as many times, got {len(shapes)} and {len(seconds)}"
        )
    shapes = [flatten(shape, layers) for shape in shapes]
    times = np.asarray(seconds, dtype=np.float64)
    if times.min() <= 0:
        raise ValueError("every recorded time must be positive")
    top = max(s.tokens for s in shapes)
    knots = [0, *(1 << k for k in range(max(top - 1, 1).bit_length() + 1))]
    columns = _columns(shapes, knots) / times[:, None]
    scale = np.abs(columns).max(axis=0)
    scale[scale == 0] = 1.0
    columns /= scale
    weights = np.ones(len(times))
    solution = np.zeros(columns.shape[1])
    for _ in range(8):
        # Reweighting by the last residual turns squares into absolute errors: a stalled step does not pull.
        root = np.sqrt(weights)
        solution = nnls(columns * root[:, None], root)
        weights = 1.0 / np.maximum(np.abs(columns @ solution - 1.0), 0.01)
        weights /= weights.max()
    found = solution / scale
    heights = np.concatenate(([found[0]], found[0] + np.cumsum(found[1 : len(knots)])))
    linear = {term: float(c) for term, c in zip(TERMS, found[len(knots) :], strict=True) if c > 0}
    model = FittedCost(list(zip(knots, map(float, heights), strict=True)), linear)
    grid = _correction(model, shapes, times) if correct else ()
    model = FittedCost(model.curve, linear, grid)
    return FittedCost(model.curve, linear, grid, mape(model, shapes, seconds), len(shapes), layers)


def _columns(shapes: Sequence[PlanShape], knots: list[int]) -> Array:
    """One column for the fixed part, one for the rise of the curve between each two knots, one per term."""
    rows = np.asarray([s.tokens for s in shapes], dtype=np.float64)
    rises = [np.clip((rows - low) / (high - low), 0.0, 1.0) for low, high in pairwise(knots)]
    terms = [
        (
            s.sequences,
            s.samples,
            s.kv_tokens,
            s.kv_max,
            s.prefill_pairs,
            s.prefill_context,
            s.decodes > 0,
            s.prefill_tokens > 0,
        )
        for s in shapes
    ]
    columns = [np.ones(len(shapes)), *rises, *np.asarray(terms, dtype=np.float64).T]
    return np.stack(columns, axis=1)


def _correction(model: FittedCost, shapes: Sequence[PlanShape], times: Array) -> list[list[float]]:
    """Average the logarithm of what is left at the nodes of a grid, drawn to zero where steps are few."""
    heights = [int(2 * log2(s.tokens + 1)) + 2 for s in shapes]
    widths = [int(2 * log2(s.kv_tokens + s.prefill_pairs + 1)) + 2 for s in shapes]
    total = np.zeros((max(heights), max(widths)))
    weight = np.full_like(total, SHRINK)
    for shape, time in zip(shapes, times, strict=True):
        i, u = _place(shape.tokens, total.shape[0])
        j, v = _place(shape.kv_tokens + shape.prefill_pairs, total.shape[1])
        left = float(np.log(time / model.step(shape)))
        # A step that stalled says little about its kind.
        trust = min(1.0, 0.03 / max(abs(left), 1e-9))
        for di, wi in ((0, 1 - u), (1, u)):
            for dj, wj in ((0, 1 - v), (1, v)):
                total[i + di, j + dj] += wi * wj * trust * left
                weight[i + di, j + dj] += wi * wj * trust
    return [[float(x) for x in row] for row in total / weight]


def mape(model: FittedCost, shapes: Sequence[PlanShape], seconds: Sequence[float]) -> float:
    """Return the mean absolute relative error of a model on recorded steps."""
    errors = [abs(model.step(shape) / time - 1.0) for shape, time in zip(shapes, seconds, strict=True)]
    return sum(errors) / len(errors)
