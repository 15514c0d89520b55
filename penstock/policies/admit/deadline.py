"""Refuse at the door what would come too late anyway."""

from __future__ import annotations

import math

from penstock.core.plan import PlanShape
from penstock.core.policy import EngineView, Reject, SequenceView, Watcher
from penstock.core.request import RequestSpec
from penstock.policies.registry import register

FORGET = 0.98
"""What a finished answer still weighs in the expected length, one answer later."""


@register("admit", "deadline")
class DeadlineAdmission(Watcher):
    """Reject requests whose ``ttft`` objective or deadline cannot be met, as far as the cost model tells.

    The first token is expected after the prompt tokens that are queued, the request's own included, at the
    rate of full steps; or, while requests wait, after as long as the newest admitted one waited, if that is
    longer (it sees shortages of memory and slots, which no price tells). The last token follows at the pace
    of today's batch, for the mean length of recent answers, at most ``max_tokens``. A refused client is told
    to come back when the excess will have drained. Requests without objectives are always accepted, and so
    is everybody while the engine has no cost model (``schedule.cost``) and nobody waits.

    Args:
        patience: factor on every objective; above 1 lets in what would be a little late.
    """

    without_cost = "refuses only while others wait"

    def __init__(self, patience: float = 1.0) -> None:
        if not 0 < patience < math.inf:
            raise ValueError(f"the patience must be a factor above 0, got {patience!r}")
        self._patience = float(patience)
        self._queued = 0
        self._lengths = [0.0, 0.0]
        self._waited = 0.0

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Count its prompt as queued."""
        self._queued += seq.prompt_length

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Its prompt is queued no more."""
        if seq.preemptions == 0:
            self._queued -= seq.prompt_length
            self._waited = now - seq.arrival

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Learn from its length, and forget what was queued of it."""
        if not running and seq.preemptions == 0:
            self._queued -= seq.prompt_length
        if seq.generated:
            weight, total = self._lengths
            self._lengths = [weight * FORGET + 1.0, total * FORGET + seq.generated]

    def decide(self, spec: RequestSpec, view: EngineView) -> Reject | None:
        """Accept what can be in time."""
        slo = spec.slo
        if slo is None or (slo.ttft is None and slo.deadline is None):
            return None
        first, last = self.expected(spec, view)
        late = -math.inf
        if slo.ttft is not None:
            late = first - slo.ttft * self._patience
        if slo.deadline is not None:
            late = max(late, last - slo.deadline * self._patience)
        if late <= 0:
            return None
        return Reject(f"it would be {late:.2f} s late: {view.waiting} requests are waiting", late)

    def expected(self, spec: RequestSpec, view: EngineView) -> tuple[float, float]:
        """Return the seconds until the first and the last token of a request that arrived now."""
        first = self._waited if view.waiting else 0.0
        cost = view.cost
        if cost is None:
            return first, first
        own, budget = len(spec.prompt_ids), view.token_budget
        queued = self._queued + own
        if view.running or view.waiting or queued > budget:
            decodes = min(view.running, budget - 1)
            rows = budget - decodes
            first = max(first, queued / rows * cost.step(_full_step(view, decodes, rows)))
        else:
            first = max(first, cost.step(_full_step(view, 0, own)))
        weight, total = self._lengths
        tokens = min(spec.sampling.max_tokens, total / weight) if weight else 1.0
        return first, first + max(0.0, tokens - 1) * cost.step(_full_step(view, view.running + 1, 0))


def _full_step(view: EngineView, decodes: int, prefill: int) -> PlanShape:
    """Return the shape of a step with today's decodes and so much prefill."""
    used = (view.blocks_total - view.blocks_available) * view.page_size
    sequences = decodes + (1 if prefill else 0)
    pairs = prefill * (prefill + 1) // 2
    return PlanShape(decodes + prefill, sequences, decodes, prefill, used, pairs, sequences, 0)
