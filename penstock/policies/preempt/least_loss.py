"""The victim whose recomputation costs least for the blocks that it frees."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.policy import EngineView, SequenceView
from penstock.cost.model import CostModel, recompute_seconds
from penstock.policies.registry import register


class _TokenCost:
    """Stands in where no cost model is calibrated: proportional to tokens, with attention's square."""

    def seconds(self, tokens: int) -> float:
        return tokens + tokens * tokens / 8192.0


@register("preempt", "least-loss")
class LeastLoss:
    """Minimise work lost. Victims that free the whole need are preferred, so that one preemption is enough.

    Args:
        cost: prices recomputation; without one, tokens do.
    """

    def __init__(self, cost: CostModel | None = None) -> None:
        self._cost = cost
        self._fallback = _TokenCost()

    def _loss(self, seq: SequenceView) -> float:
        if self._cost is None:
            return self._fallback.seconds(seq.planned)
        return recompute_seconds(self._cost, seq.planned)

    def choose(self, candidates: Sequence[SequenceView], need: int, view: EngineView) -> SequenceView:
        """Return the cheapest candidate that frees the need, else the one cheapest per block."""
        enough = [s for s in candidates if len(s.blocks) >= need]
        if enough:
            return min(enough, key=lambda s: (self._loss(s), -s.number))
        return min(candidates, key=lambda s: (self._loss(s) / max(1, len(s.blocks)), -s.number))
