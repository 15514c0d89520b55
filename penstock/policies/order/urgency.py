"""By slack: who would miss its deadline first if it were not begun now."""

from __future__ import annotations

import math

from penstock.core.policy import EngineView, SequenceView, StepCost
from penstock.policies.estimate import alone_seconds
from penstock.policies.order.base import KeyOrder
from penstock.policies.registry import register


@register("order", "urgency")
class Urgency(KeyOrder):
    """Least slack first: time to the deadline less the time that the request needs alone on this engine.

    Time passes for all alike, so the order never changes: arrival + deadline - estimate. Requests without a
    deadline come last, by arrival. Without a cost model the estimate is 0 and the order is EDF's.

    Source: HexGen-Flow (Text2SQL), local scheduler; urgency = t(stage) - (SLO of the stage - elapsed). The
    deadline of a request is then its stage's share of the query's.
    """

    leaves_equals = False
    starves = "requests without deadlines"
    without_cost = "orders by deadline alone, like 'edf'"

    def __init__(self) -> None:
        self._cost: StepCost | None = None

    def bind(self, view: EngineView) -> None:
        """Take the engine's step times."""
        self._cost = view.cost

    def key(self, seq: SequenceView, now: float) -> tuple[float, float]:
        """Return the last moment at which the request could begin, and its arrival."""
        slo = seq.spec.slo
        if slo is None or slo.deadline is None:
            return math.inf, seq.arrival
        return seq.arrival + slo.deadline - alone_seconds(self._cost, seq.spec), seq.arrival
