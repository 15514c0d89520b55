"""Refuse at the door what would come too late anyway."""

from __future__ import annotations

import math
from typing import Any

from sortedcontainers import SortedKeyList

from penstock.core.plan import PlanShape
from penstock.core.policy import EngineView, Reject, SequenceView, Watcher
from penstock.core.request import RequestSpec
from penstock.policies.registry import register

FORGET = 0.98
"""What a finished answer still weighs in the expected length, one answer later."""
MEMORY = 5.0
"""Seconds over which the rate of prompt tokens is measured."""


@register("admit", "deadline")
class DeadlineAdmission(Watcher):
    """Reject requests whose ``ttft`` objective or deadline cannot be met, as far as the cost model tells.

    The first token is expected after the queued prompt tokens that are due no later than its own, at the
    rate of full steps or, while there is a queue, at the rate at which prompts were computed lately, if that
    is lower (it knows of step budgets and of shortages of memory that no price tells). The last token
    follows at the pace of today's batch, for the mean length of recent answers, at most ``max_tokens``. A
    refused client is told to come back when the excess will have drained. This foresees the order ``edf``;
    under others it lets in more than can be in time. Requests without objectives are always accepted.

    Args:
        patience: factor on every objective; above 1 lets in what would be a little late.
    """

    without_cost = "refuses only while others wait"

    def __init__(self, patience: float = 1.0) -> None:
        if not 0 < patience < math.inf:
            raise ValueError(f"the patience must be a factor above 0, got {patience!r}")
        self._patience = float(patience)
        self._view: EngineView | None = None
        self._queue: Any = SortedKeyList(key=_place)
        self._lengths = [0.0, 0.0]
        self._flow = [0.0, 0.0]
        self._then = 0.0

    def bind(self, view: EngineView) -> None:
        """Remember whose clock it is."""
        self._view = view

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Count its prompt as queued."""
        self._queue.add(seq)

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Its prompt is queued no more."""
        if seq.preemptions == 0:
            self._queue.remove(seq)

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Measure how fast prompts are computed while there is a queue."""
        assert self._view is not None
        now = self._view.now
        if now > self._then:
            if self._queue:
                passed = now - self._then
                keep = math.exp(-passed / MEMORY)
                self._flow = [self._flow[0] * keep + passed, self._flow[1] * keep]
            self._then = now
        if self._queue:
            self._flow[1] += prefill

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Learn from its length, and forget what was queued of it."""
        if not running and seq.preemptions == 0:
            self._queue.remove(seq)
        if seq.generated:
            weight, total = self._lengths
            self._lengths = [weight * FORGET + 1.0, total * FORGET + seq.generated]

    def queued(self, by: float = math.inf) -> int:
        """Return the queued prompt tokens that are due by a time."""
        ahead = self._queue.irange_key(None, (by, math.inf))
        return sum(seq.prompt_length for seq in ahead)

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
        slo, own = spec.slo, len(spec.prompt_ids)
        by = view.now + min((slo and slo.ttft) or math.inf, (slo and slo.deadline) or math.inf)
        queued = self.queued(by)
        seconds, computed = self._flow
        first = queued * seconds / computed if queued and computed and seconds > MEMORY / 10 else 0.0
        if view.cost is None:
            return first, first
        decodes = min(view.running, view.token_budget - 1)
        rows = min(queued + own, view.token_budget - decodes)
        steps = (queued + own) / rows
        first = max(first, steps * view.cost.step(_full_step(view, decodes, rows)))
        weight, total = self._lengths
        tokens = min(spec.sampling.max_tokens, total / weight) if weight else 1.0
        return first, first + max(0.0, tokens - 1) * view.cost.step(_full_step(view, view.running + 1, 0))


def _place(seq: SequenceView) -> tuple[float, int]:
    slo = seq.spec.slo
    if slo is None:
        return (math.inf, seq.number)
    return (seq.arrival + min(slo.ttft or math.inf, slo.deadline or math.inf), seq.number)


def _full_step(view: EngineView, decodes: int, prefill: int) -> PlanShape:
    """Return the shape of a step with today's decodes and so much prefill."""
    used = (view.blocks_total - view.blocks_available) * view.page_size
    sequences = decodes + (1 if prefill else 0)
    pairs = prefill * (prefill + 1) // 2
    return PlanShape(decodes + prefill, sequences, decodes, prefill, used, pairs, sequences, 0)
