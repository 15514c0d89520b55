"""The read-only view of the engine that policies are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.core.scheduler import Scheduler


class SchedulerView:
    """Implements `penstock.core.policy.EngineView`; every property is O(1)."""

    __slots__ = ("_s",)

    def __init__(self, scheduler: Scheduler) -> None:
        self._s = scheduler

    @property
    def now(self) -> float:
        """Engine-clock seconds of this step."""
        return self._s.now

    @property
    def running(self) -> int:
        """Sequences holding a slot."""
        return len(self._s.running)

    @property
    def waiting(self) -> int:
        """Sequences queued for admission."""
        return len(self._s.waiting)

    @property
    def blocks_available(self) -> int:
        """Blocks that could be taken now."""
        return self._s.kv.available

    @property
    def blocks_total(self) -> int:
        """Blocks of the device tier."""
        return self._s.kv.pool.size

    @property
    def page_size(self) -> int:
        """Tokens per block."""
        return self._s.kv.page

    @property
    def token_budget(self) -> int:
        """Largest token budget a step may have."""
        return self._s.max_tokens
