"""Two ways to look at the books: the read-only view that policies are given, and the figures for metrics."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.output import EngineStats
from penstock.core.policy import SequenceView, StepCost
from penstock.core.programs import owner_of
from penstock.core.sequence import Sequence
from penstock.core.state import SchedulerState


class StateView:
    """Implements `penstock.core.policy.EngineView`."""

    __slots__ = ("_s",)

    def __init__(self, state: SchedulerState) -> None:
        self._s = state

    @property
    def step(self) -> int:
        """Steps planned so far."""
        return self._s.counters.steps

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
    def blocks_pinned(self) -> int:
        """Blocks that pins keep."""
        return len(self._s.kv.pins.held)

    @property
    def page_size(self) -> int:
        """Tokens per block."""
        return self._s.kv.page

    @property
    def token_budget(self) -> int:
        """Largest token budget a step may have."""
        return self._s.max_tokens

    @property
    def cost(self) -> StepCost | None:
        """Step times of this engine's model and device, if they are known."""
        return self._s.cost

    def running_sequences(self) -> Iterable[SequenceView]:
        """Return the sequences that hold a slot."""
        return self._s.running

    def cached_tokens(self, seq: SequenceView) -> int:
        """Return how many tokens of a waiting sequence the prefix cache holds now."""
        assert isinstance(seq, Sequence)
        return self._s.kv.cached_tokens(seq)

    def pinned(self, seq: SequenceView) -> bool:
        """Whether pages are pinned for a sequence's program."""
        return owner_of(seq.spec, "program") in self._s.kv.pins


def snapshot(s: SchedulerState) -> EngineStats:
    """Return the scheduler's figures of this moment, in O(1)."""
    c, kv = s.counters, s.kv
    return EngineStats(
        running=len(s.running),
        waiting=len(s.waiting),
        blocks_total=kv.pool.size,
        blocks_free=kv.pool.free,
        blocks_reclaimable=kv.pool.reclaimable,
        blocks_pinned=len(kv.pins.held),
        pins_made=kv.pins.made,
        pins_returned=kv.pins.returned,
        pins_given_up=kv.pins.given_up,
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
        refused=c.refused,
        preempted_for=dict(c.preempted_for),
        last_step_tokens=c.last_step_tokens,
        step_tokens=c.step_tokens,
        step_sizes=tuple(c.step_sizes),
    )
