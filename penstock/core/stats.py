"""Counters that the scheduler keeps as it goes, so that no figure needs a scan."""

from __future__ import annotations

from collections import Counter

from penstock.core.output import FinishReason

SIZE_CLASSES = 18
"""Classes that steps are counted in by size; see `EngineStats.step_sizes`."""


class Counters:
    """Monotone counts since start."""

    def __init__(self) -> None:
        self.submitted = 0
        self.steps = 0
        self.last_step_tokens = 0
        self.step_tokens = 0
        self.step_sizes = [0] * SIZE_CLASSES
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.recomputed_tokens = 0
        self.preemptions = 0
        self.finished: dict[FinishReason, int] = dict.fromkeys(FinishReason, 0)
        self.blocked_by: Counter[str] = Counter()
        self.refused = 0
        self.preempted_for: Counter[str] = Counter()

    def step(self, tokens: int) -> None:
        """Note a planned step of ``tokens`` rows."""
        self.steps += 1
        self.last_step_tokens = tokens
        self.step_tokens += tokens
        self.step_sizes[min((tokens - 1).bit_length(), SIZE_CLASSES - 1)] += 1

    def blocked(self, resource: str) -> None:
        """Note that an admission was blocked for want of a resource."""
        self.blocked_by[resource] += 1
