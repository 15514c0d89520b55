"""The planning half of the scheduler: which tokens of which sequences run in the next step.

There are no phases: every sequence has a gap between its planned and its known tokens, and a step closes
gaps under a budget. `Planner.plan` reads begin -> continue running -> admit waiting -> finalise.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from penstock.core.builder import PlanBuilder
from penstock.core.cohort import Cohort, stages_for
from penstock.core.plan import StepPlan
from penstock.core.policy import EngineView, StepShape
from penstock.core.programs import owner_of
from penstock.core.resources import CONTESTED, acquire_all
from penstock.core.sequence import Sequence
from penstock.core.state import SchedulerState
from penstock.core.states import SeqState


class Planner:
    """Plans steps; every judgement is a policy's.

    Args:
        state: the books.
        view: what policies are given to look at.
    """

    def __init__(self, state: SchedulerState, view: EngineView) -> None:
        self._s = state
        self._view = view
        self._ticket = 0
        self._awaited: Sequence | None = None
        """Whom the newest displacement was for: until it is in, nobody ranked below it may take that room."""

        self._grower: Sequence | None = None
        """Who lacked a block last: while it still does, nobody is admitted to the room made for it."""

    def plan(self) -> StepPlan | None:
        """Decide the next step; None when there is nothing to do before another step lands."""
        s = self._s
        s.expire_pins()
        builder = PlanBuilder(self._shape())
        if s.suspects:
            if s.in_flight:
                return None
            self._plan_suspect(builder)
        if builder:
            pass
        elif s.cohort is not None:
            self._cohort_then_decodes(builder, s.cohort)
        elif builder.shape.decode_first:
            self._decodes_then_prefills(builder)
        else:
            self._prefills_then_decodes(builder)
        return self._finalise(builder) if builder else None

    def _shape(self) -> StepShape:
        asked = self._s.policies.shape.shape(self._view)
        tokens = max(1, min(asked.tokens, self._s.max_tokens))
        return StepShape(
            tokens,
            max(1, min(asked.prefill_tokens, tokens)),
            max(1, asked.chunk),
            asked.decode_first,
            asked.mix,
            asked.split,
            asked.stages,
        )

    def _finalise(self, builder: PlanBuilder) -> StepPlan:
        s = self._s
        self._ticket += 1
        plan, members = builder.build(self._ticket, s.slots.take_freed())
        if builder.cohort is not None:
            s.cohort = builder.cohort.next()
        s.in_flight.append((plan, members))
        s.counters.step(plan.shape.tokens)
        return plan

    # -- the running -------------------------------------------------------------------------------

    def _decodes_then_prefills(self, builder: PlanBuilder) -> None:
        """Stall-free order: decodes, then prefills under way, then admissions."""
        partial = self._plan_decodes(builder, self._s.running.ranked(self._s.now))
        if builder.shape.mix or not builder.decodes:
            self._plan_prefills(builder, partial)
            self._admit_waiting(builder)
            if builder.shape.stages and builder.prefills:
                self._form_cohort(builder)

    def _prefills_then_decodes(self, builder: PlanBuilder) -> None:
        ranked = self._s.running.ranked(self._s.now)
        self._plan_prefills(builder, [seq for seq in ranked if seq.target - seq.planned > 1])
        self._admit_waiting(builder)
        if builder.shape.mix or not builder.prefills:
            self._plan_decodes(builder, [seq for seq in ranked if seq not in builder.prefills])

    def _cohort_then_decodes(self, builder: PlanBuilder, cohort: Cohort) -> None:
        """Take a cohort through its next group of layers beside the decodes; nobody is admitted."""
        builder.stage(cohort)
        others = [seq for seq in self._s.running.ranked(self._s.now) if seq not in cohort.rows]
        self._plan_decodes(builder, others)

    def _form_cohort(self, builder: PlanBuilder) -> None:
        """Let the step's prefills pass the layers group by group, if there are enough of them."""
        layers = self._s.spec.layers
        stages = min(stages_for(sum(builder.prefills.values()), builder.shape.stages), layers)
        if stages > 1:
            builder.make_cohort(stages, layers)

    def _plan_decodes(self, builder: PlanBuilder, ranked: Iterable[Sequence]) -> list[Sequence]:
        """Give each sequence one token short of its target its row; return those with more to do."""
        partial: list[Sequence] = []
        left, decodes = builder.tokens_left, builder.decodes
        for seq in ranked:
            gap = seq.target - seq.planned
            if gap != 1:
                if gap > 1:
                    partial.append(seq)
                continue
            if left <= 0 or seq.target >= seq.max_total or seq.state is not SeqState.RUNNING:
                continue
            if seq.planned >= seq.room:
                builder.tokens_left = left
                grown = self._grow(seq, builder)
                left = builder.tokens_left
                if not grown or left <= 0:
                    continue
            decodes[seq] = 1
            left -= 1
        builder.tokens_left = left
        return partial

    def _plan_prefills(self, builder: PlanBuilder, partial: Iterable[Sequence]) -> None:
        for seq in partial:
            if seq.state is not SeqState.RUNNING:
                continue
            rows = builder.fit(seq.target - seq.planned)
            if rows == 0:
                break
            builder.prefill(seq, rows)

    def _grow(self, seq: Sequence, builder: PlanBuilder) -> bool:
        """Make room for one more token, at the cost of lower-ranked sequences if need be."""
        s = self._s
        while not s.kv.grow(seq, seq.planned + 1):
            self._grower = seq
            if s.kv.pool.fenced:
                return False  # blocks are on their way back: wait a step rather than preempt once more
            if s.kv.pins.give_up():
                continue
            lower = s.running.below(seq, s.now)
            if not lower:
                return False
            builder.pressed = True
            self._preempt(lower, 1, builder, "growth")
        return True

    def _preempt(self, candidates: list[Sequence], need: int, builder: PlanBuilder, cause: str) -> None:
        """Let the policy choose a victim (the lowest-ranked if it makes one up) and un-schedule it."""
        chosen = self._s.policies.preempt.choose(candidates, need, self._view)
        victim = next((seq for seq in candidates if seq is chosen), candidates[-1])
        builder.drop(victim)
        self._s.preempt(victim)
        self._s.counters.preempted_for[cause] += 1

    # -- the waiting -------------------------------------------------------------------------------

    def _admit_waiting(self, builder: PlanBuilder) -> None:
        s, grower = self._s, self._grower
        if builder.pressed or not len(s.waiting):
            return
        if grower is not None:
            if grower.state is SeqState.RUNNING and grower.planned >= grower.room:
                return
            self._grower = None
        for seq in s.waiting.candidates(s.now):
            if seq.ticket > s.kv.pool.landed:
                continue  # a token of it is still in flight; others may pass meanwhile
            if builder.fit(1) == 0:
                return
            blocked = acquire_all(s.resources, seq)
            while blocked and self._displace(seq, blocked, builder):
                blocked = acquire_all(s.resources, seq)
            if blocked:
                s.counters.blocked(blocked)
                if s.policies.order.stops or seq is self._awaited:
                    return
                if not (s.kv.available and s.slots.available):
                    return
                continue
            rows = builder.fit(seq.target - seq.planned)
            if rows == 0:
                s.give_back(seq)
                return
            self._start(seq)
            builder.prefill(seq, rows)

    def _displace(self, seq: Sequence, short_of: str, builder: PlanBuilder) -> bool:
        """Preempt one running sequence that `seq` is worth more than, if that can help it in.

        Before that, and whenever nothing runs that could leave anything, a pin is given up.
        """
        s = self._s
        if short_of not in CONTESTED or s.kv.pool.fenced or s.slots.fenced:
            return False
        may_displace = s.policies.order.may_displace
        worst_first = reversed(s.running.ranked(s.now))
        lower = list(takewhile(lambda other: may_displace(seq, other, s.now), worst_first))[::-1]
        may_unpin = short_of == "blocks" and (lower or not len(s.running))
        if may_unpin and s.kv.pins.give_up(last=owner_of(seq.spec, "program")):
            return True
        if not lower:
            return False
        need = s.kv.pages(seq.target) - s.kv.available
        if short_of == "blocks" and need > sum(len(other.blocks) for other in lower):
            return False
        self._awaited = seq
        self._preempt(lower, max(need, 1), builder, "rank")
        return True

    def _start(self, seq: Sequence) -> None:
        s = self._s
        s.waiting.remove(seq)
        s.move(seq, SeqState.RUNNING)
        if seq.preemptions == 0:
            seq.first_scheduled = s.now
            s.kv.note_admitted(seq)
        s.hand_over(seq)
        s.running.add(seq)
        for tell in s.watch.admit:
            tell(seq, s.now)

    # -- after a fault -----------------------------------------------------------------------------

    def _plan_suspect(self, builder: PlanBuilder) -> None:
        """Run the first suspect alone, in the slot and blocks it holds; everybody else waits a step."""
        suspects = self._s.suspects
        while suspects:
            seq = suspects[0]
            gap = seq.target - seq.planned
            if seq.state is SeqState.RUNNING and gap > 1:
                builder.prefill(seq, max(1, builder.fit(gap)))
                return
            if seq.state is SeqState.RUNNING and (seq.planned < seq.room or self._grow(seq, builder)):
                builder.decode(seq)
                return
            suspects.popleft()
