"""The prefix of a group stays until its last member is done."""

from __future__ import annotations

from collections import Counter

from penstock.core.policy import EngineView, SequenceView, Watcher
from penstock.core.programs import owner_of
from penstock.policies.registry import register


@register("retain", "groups")
class GroupHold(Watcher):
    """Keep a group's shared prefix for as long as members of it are in the queue or running.

    Nothing of it is left to an eviction policy's guess. Source: Zheng et al., "BatchLLM"
    (arXiv 2412.03594), the explicit lifetime of a common prefix.
    """

    reason = "group"

    def __init__(self) -> None:
        self._live: Counter[object] = Counter()

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Count it."""
        owner = owner_of(seq.spec, "group")
        if owner is not None:
            self._live[owner] += 1

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Count it out."""
        owner = owner_of(seq.spec, "group")
        if owner is None:
            return
        self._live[owner] -= 1
        if self._live[owner] <= 0:
            del self._live[owner]

    def seconds(self, seq: SequenceView, view: EngineView) -> float:
        """Return for ever while there are others of its group, which it is still counted in."""
        return float("inf") if self._live[owner_of(seq.spec, "group")] > 1 else 0.0
