"""Counters that the scheduler keeps as it goes, so that no figure needs a scan."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from penstock.core.output import EngineStats, FinishReason

if TYPE_CHECKING:
    from penstock.core.scheduler import Scheduler


class Counters:
    """Monotone counts since start."""

    def __init__(self) -> None:
        self.submitted = 0
        self.steps = 0
        self.last_step_tokens = 0
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.recomputed_tokens = 0
        self.preemptions = 0
        self.finished: dict[FinishReason, int] = dict.fromkeys(FinishReason, 0)
        self.blocked_by: Counter[str] = Counter()

    def blocked(self, resource: str) -> None:
        """Note that an admission was blocked for want of a resource."""
        self.blocked_by[resource] += 1


def snapshot(s: Scheduler) -> EngineStats:
    """Return the scheduler's figures of this moment, in O(1)."""
    c, kv = s.counters, s.kv
    return EngineStats(
        running=len(s.running),
        waiting=len(s.waiting),
        blocks_total=kv.pool.size,
        blocks_free=kv.pool.free,
        blocks_reclaimable=kv.pool.reclaimable,
        prefix_query_tokens=kv.query_tokens,
        prefix_hit_tokens=kv.hit_tokens,
        prompt_tokens=c.prompt_tokens,
        generated_tokens=c.generated_tokens,
        preemptions=c.preemptions,
        recomputed_tokens=c.recomputed_tokens,
        steps=c.steps,
        submitted=c.submitted,
        finished={reason.value: count for reason, count in c.finished.items()},
        waiting_by_reason=dict(c.blocked_by),
        last_step_tokens=c.last_step_tokens,
    )
