"""The scheduler: decides each step which tokens of which sequences run. No I/O, no clock, no tensors.

`plan` reads begin -> continue running -> admit waiting -> finalise. There are no phases: every sequence
has a gap between its planned and its known tokens, and a step closes gaps under a token budget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from penstock.core.builder import PlanBuilder
from penstock.core.errors import InvalidRequest, Overloaded
from penstock.core.events import EventSink
from penstock.core.executor import ExecutorSpec
from penstock.core.kv.manager import KVManager
from penstock.core.landing import Landing
from penstock.core.output import FinishReason, Output
from penstock.core.plan import StepPlan, StepResult
from penstock.core.policy import Policies, StepShape
from penstock.core.queue import WaitingQueue
from penstock.core.request import RequestSpec
from penstock.core.resources import KVResource, Resource, SlotResource, acquire_all
from penstock.core.running import RunningSet
from penstock.core.sequence import Sequence
from penstock.core.states import SeqState, transition
from penstock.core.stats import Counters
from penstock.core.view import SchedulerView


class Scheduler:
    """Mechanism of continuous batching; every judgement is a policy's.

    Args:
        spec: what the executor can hold.
        policies: one per slot.
        max_seqs: sequences running at once (at most the executor's slots).
        max_tokens: largest token budget of a step.
        prefix_caching: whether prompt prefixes are reused.
        sink: receiver of state transitions.
    """

    def __init__(
        self,
        spec: ExecutorSpec,
        policies: Policies,
        *,
        max_seqs: int,
        max_tokens: int,
        prefix_caching: bool = True,
        sink: EventSink | None = None,
    ) -> None:
        self.spec = spec
        self.policies = policies
        self.max_tokens = max_tokens
        self.now = 0.0
        self.kv = KVManager(
            spec.blocks,
            spec.page_size,
            policies.evict,
            prefix_caching=prefix_caching,
            fingerprint=spec.cache_fingerprint,
        )
        self.slots = SlotResource(min(max_seqs, spec.slots))
        self.waiting = WaitingQueue(policies.order)
        self.running = RunningSet(policies.order)
        self._resources: tuple[Resource, ...] = (self.slots, KVResource(self.kv, self.running))
        self.sequences: dict[str, Sequence] = {}
        self.outbox: list[Output] = []
        self.counters = Counters()
        self.view = SchedulerView(self)
        self.suspects: deque[Sequence] = deque()
        """Sequences of a step that failed, to be retried one at a time."""
        self._sink = sink
        self._ticket = 0
        self._number = 0
        self._landing = Landing(self)

    # -- the outside -------------------------------------------------------------------------------

    def submit(self, spec: RequestSpec, now: float) -> None:
        """Take a request in.

        Raises:
            InvalidRequest: it could never run here.
            Overloaded: the admit policy turned it away.
        """
        self.now = now
        if spec.id in self.sequences:
            raise InvalidRequest("request_id", f"{spec.id!r} is in use by a live request")
        if not spec.prompt_ids:
            raise InvalidRequest("prompt", "must have at least one token")
        if len(spec.prompt_ids) >= self.spec.max_model_len:
            raise InvalidRequest(
                "prompt",
                f"has {len(spec.prompt_ids)} tokens; with at least one to generate, at most "
                f"{self.spec.max_model_len - 1} fit the context of {self.spec.max_model_len}",
            )
        seq = Sequence(spec, self._number, self.spec.max_model_len)
        if self.kv.pages(seq.max_total) > self.spec.blocks:
            raise InvalidRequest(
                "max_tokens",
                f"prompt and output may reach {seq.max_total} tokens, but the KV cache holds "
                f"{self.spec.blocks * self.spec.page_size}",
            )
        refusal = self.policies.admit.decide(spec, self.view)
        if refusal is not None:
            raise Overloaded(refusal.reason, refusal.retry_after)
        self._number += 1
        seq.arrival = spec.arrival or now
        self.sequences[spec.id] = seq
        self.counters.submitted += 1
        transition(seq, SeqState.READY, now, self._sink)
        self.waiting.add(seq)

    def cancel(self, request_id: str, now: float, reason: FinishReason, detail: str) -> bool:
        """End a request early; False if it is not live (it has had its terminal event already)."""
        self.now = now
        seq = self.sequences.get(request_id)
        if seq is None:
            return False
        self.finish(seq, reason, detail)
        return True

    # -- planning ----------------------------------------------------------------------------------

    def plan(self, now: float) -> StepPlan | None:
        """Decide the next step; None when there is nothing to do before another step lands."""
        self.now = self.kv.index.now = now
        builder = PlanBuilder(self._shape())
        if self.suspects:
            if self._landing.in_flight:
                return None
            self._plan_suspect(builder)
        if builder:
            pass
        elif builder.shape.decode_first:
            self._decodes_then_prefills(builder)
        else:
            self._prefills_then_decodes(builder)
        return self._finalise(builder) if builder else None

    def land(self, result: StepResult, now: float) -> None:
        """Take a step's result in; news goes to `outbox`.

        Raises:
            ValueError: the result is not that of the oldest step in flight.
        """
        self.now = self.kv.index.now = now
        self._landing.land(result)

    def abandon(self, failed_ticket: int, why: str, now: float) -> None:
        """Undo every step in flight after `failed_ticket` failed; its sequences become suspects.

        A suspect is retried in a step of its own; one that fails alone ends with an error.
        """
        self.now = self.kv.index.now = now
        self._landing.abandon(failed_ticket, why)

    def _shape(self) -> StepShape:
        asked = self.policies.shape.shape(self.view)
        tokens = max(1, min(asked.tokens, self.max_tokens))
        return StepShape(
            tokens,
            max(1, min(asked.prefill_tokens, tokens)),
            max(1, asked.chunk),
            asked.decode_first,
            asked.mix,
            asked.split,
        )

    def _decodes_then_prefills(self, builder: PlanBuilder) -> None:
        """Stall-free order: decodes, then prefills under way, then admissions."""
        ranked = self.running.ranked(self.now)
        partial = self._plan_decodes(builder, ranked)
        if builder.shape.mix or not builder.decodes:
            self._plan_prefills(builder, partial)
            self._admit_waiting(builder)

    def _prefills_then_decodes(self, builder: PlanBuilder) -> None:
        ranked = self.running.ranked(self.now)
        self._plan_prefills(builder, [s for s in ranked if s.target - s.planned > 1])
        self._admit_waiting(builder)
        if builder.shape.mix or not builder.prefills:
            self._plan_decodes(builder, [s for s in ranked if s not in builder.prefills])

    def _plan_decodes(self, builder: PlanBuilder, ranked: Iterable[Sequence]) -> list[Sequence]:
        """Give each sequence one token short of its target its row; return those with more to do."""
        partial: list[Sequence] = []
        left = builder.tokens_left
        for seq in ranked:
            gap = seq.target - seq.planned
            if gap != 1:
                if gap > 1:
                    partial.append(seq)
                continue
            if left <= 0 or seq.target >= seq.max_total or seq.state is not SeqState.RUNNING:
                continue
            if seq.planned >= seq.room:
                grown = self._grow(seq, builder)
                left = builder.tokens_left
                if not grown or left <= 0:
                    continue
            builder.decode(seq)
            left -= 1
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
        while not self.kv.grow(seq, seq.planned + 1):
            if self.kv.pool.fenced:
                return False  # blocks are on their way back: wait a step rather than preempt once more
            lower = self.running.below(seq, self.now)
            if not lower:
                return False
            builder.pressed = True
            self._preempt(self._victim(lower, 1), builder)
        return True

    def _victim(self, candidates: list[Sequence], need: int) -> Sequence:
        chosen = self.policies.preempt.choose(candidates, need, self.view)
        for seq in candidates:
            if seq is chosen:
                return seq
        return candidates[-1]

    def _preempt(self, seq: Sequence, builder: PlanBuilder) -> None:
        builder.drop(seq)
        self.running.remove(seq)
        for resource in self._resources:
            resource.release(seq)
        seq.preemptions += 1
        self.counters.preemptions += 1
        transition(seq, SeqState.PREEMPTED, self.now, self._sink)
        transition(seq, SeqState.READY, self.now, self._sink)
        self.waiting.add(seq)

    def _admit_waiting(self, builder: PlanBuilder) -> None:
        if builder.pressed or not len(self.waiting):
            return
        for seq in self.waiting.candidates(self.now):
            if seq.ticket > self.kv.pool.landed:
                continue  # a token of it is still in flight; others may pass meanwhile
            if builder.fit(1) == 0:
                return
            blocked = acquire_all(self._resources, seq)
            while blocked and self._displace(seq, blocked, builder):
                blocked = acquire_all(self._resources, seq)
            if blocked:
                self.counters.blocked(blocked)
                return
            rows = builder.fit(seq.target - seq.planned)
            if rows == 0:
                for resource in self._resources:
                    resource.release(seq)
                return
            self._start(seq)
            builder.prefill(seq, rows)

    def _displace(self, seq: Sequence, short_of: str, builder: PlanBuilder) -> bool:
        """Preempt one running sequence that `seq` is worth more than, if that can help it in."""
        if self.kv.pool.fenced or self.slots.fenced:
            return False
        order = self.policies.order
        lower = [s for s in self.running.ranked(self.now) if order.may_displace(seq, s, self.now)]
        if not lower:
            return False
        need = self.kv.pages(seq.target) - self.kv.available
        if short_of == "blocks" and need > sum(len(s.blocks) for s in lower):
            return False
        self._preempt(self._victim(lower, max(need, 1)), builder)
        return True

    def _start(self, seq: Sequence) -> None:
        self.waiting.remove(seq)
        transition(seq, SeqState.RUNNING, self.now, self._sink)
        if seq.preemptions == 0:
            seq.first_scheduled = self.now
            self.kv.note_admitted(seq)
        self.running.add(seq)

    def _plan_suspect(self, builder: PlanBuilder) -> None:
        """Run the first suspect alone, in the slot and blocks it holds; everybody else waits a step."""
        while self.suspects:
            seq = self.suspects[0]
            gap = seq.target - seq.planned
            if seq.state is SeqState.RUNNING and gap > 1:
                builder.prefill(seq, max(1, builder.fit(gap)))
                return
            if seq.state is SeqState.RUNNING and (seq.planned < seq.room or self._grow(seq, builder)):
                builder.decode(seq)
                return
            self.suspects.popleft()

    def _finalise(self, builder: PlanBuilder) -> StepPlan:
        self._ticket += 1
        plan, members = builder.build(self._ticket, self.slots.take_freed())
        self._landing.expect(plan, members)
        self.counters.steps += 1
        self.counters.last_step_tokens = plan.shape.tokens
        return plan

    # -- endings -----------------------------------------------------------------------------------

    def finish(self, seq: Sequence, reason: FinishReason, detail: str = "", stop: int | None = None) -> None:
        """Give a sequence its one terminal event and take everything it holds."""
        if seq.state is SeqState.RUNNING:
            self.running.remove(seq)
            for resource in self._resources:
                resource.release(seq)
            if seq in self.suspects:
                self.suspects.remove(seq)
        else:
            self.waiting.remove(seq)
        transition(seq, SeqState.FINISHED, self.now, self._sink)
        del self.sequences[seq.id]
        self.policies.order.on_finish(seq)
        self._landing.say_finished(seq, reason, detail, stop)
