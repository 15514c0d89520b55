"""From a journal of real steps to a cost model, and how far its simulation can be trusted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from penstock.core.errors import ConfigError
from penstock.core.plan import PlanShape
from penstock.cost.fitted import FittedCost, fit, mape
from penstock.cost.host import HostTimes, fit_host
from penstock.cost.scatter import Scatter
from penstock.engine.journal import Entry, Landed, Planned


class Sample(NamedTuple):
    """One recorded step."""

    shape: PlanShape
    seconds: float
    """On the device."""
    planning: float
    """Seconds before it, from looking at the inbox on."""
    landing: float
    """Seconds after it, until the engine looked at its inbox again; nan if it had nothing to do then."""
    outputs: int


class Calibration(NamedTuple):
    """What was fitted, and to what."""

    cost: FittedCost
    host: HostTimes
    scatter: Scatter
    """How far recorded steps lie from the model."""
    steps: int
    held_out: int
    held_out_mape: float
    """Mean absolute relative error over steps that the fit it belongs to has not seen."""


def samples(entries: Iterable[Entry]) -> list[Sample]:
    """Return the steps of a journal in which every step was landed before the next was planned."""
    found: list[Sample] = []
    plan: Planned | None = None
    landed: Landed | None = None
    pending: tuple[Planned, Landed] | None = None
    for entry in entries:
        if isinstance(entry, Planned):
            if pending is not None:
                gap = entry.now - pending[1].now
                found.append(_sample(*pending, gap))
                pending = None
            plan = entry
        elif isinstance(entry, Landed):
            landed = entry
            if plan is not None and plan.plan.ticket == landed.result.ticket:
                pending = (plan, landed)
            plan = None
    if pending is not None:
        found.append(_sample(*pending, float("nan")))
    return found


def _sample(plan: Planned, landed: Landed, gap: float) -> Sample:
    result = landed.result
    seconds = result.seconds or landed.now - plan.now
    outputs = sum(1 for item in result.items if item.tokens)
    return Sample(plan.plan.shape, seconds, max(0.0, landed.now - plan.now - seconds), gap, outputs)


def calibrate(steps: Sequence[Sample], held_out: float = 0.2) -> Calibration:
    """Fit step and host times; the error is that of a first fit on stretches of steps that it has not seen.

    Args:
        steps: recorded ones, in order.
        held_out: share that the first fit does not see.

    Raises:
        ConfigError: too few steps.
    """
    if len(steps) < 100:
        raise ConfigError("calibrate", f"needs at least 100 steps to fit and check, got {len(steps)}")
    stretch, every = 20, max(2, round(1 / held_out))
    unseen = [(i // stretch) % every == every - 1 for i in range(len(steps))]
    known = [s for s, out in zip(steps, unseen, strict=True) if not out]
    test = [s for s, out in zip(steps, unseen, strict=True) if out]
    first = fit([s.shape for s in known], [s.seconds for s in known])
    error = mape(first, [s.shape for s in test], [s.seconds for s in test])
    model = fit([s.shape for s in steps], [s.seconds for s in steps])
    # A gap in which the engine had nothing to do says nothing about its speed.
    busy = [s for s in steps if np.isfinite(s.landing) and s.landing < 0.05]
    host = fit_host(
        [(s.shape.sequences, s.planning) for s in steps], [(s.outputs, s.landing) for s in busy if s.outputs]
    )
    scatter = Scatter([s.shape for s in steps], [s.seconds / model.step(s.shape) for s in steps])
    return Calibration(model, host, scatter, len(steps), len(test), error)


def save(calibration: Calibration, path: Path) -> None:
    """Write the cost model, with the host times beside it."""
    calibration.cost.save(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    data["host"] = msgspec.to_builtins(calibration.host)
    data["held_out_mape"] = calibration.held_out_mape
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def load_host(path: Path) -> HostTimes:
    """Return the host times of a calibration file; zeros if it has none.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(data.get("host", {}), HostTimes)
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError("cost", f"{path} is not a calibration: {error}") from None
