"""Counters that the scheduler keeps as it goes, so that no figure needs a scan."""

from __future__ import annotations

from collections import Counter

from penstock.core.output import FinishReason


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
