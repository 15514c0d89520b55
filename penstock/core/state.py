"""What planning and landing share: the sequences, what they hold, and the one way each of them ends."""

from __future__ import annotations

from collections import deque

import msgspec

from penstock.core.cohort import Cohort
from penstock.core.errors import ConfigError
from penstock.core.events import EventSink
from penstock.core.executor import ExecutorSpec
from penstock.core.kv.manager import KVManager
from penstock.core.output import Finish, FinishReason, Output, Timeline
from penstock.core.plan import StepPlan
from penstock.core.policy import EngineView, Policies, StepCost
from penstock.core.programs import ProgramBook, owner_of
from penstock.core.queue import WaitingQueue
from penstock.core.resources import KVResource, PrefixResource, Resource, SlotResource
from penstock.core.running import RunningSet
from penstock.core.sequence import PREEMPTIONS_DATED, Sequence
from penstock.core.states import SeqState, transition
from penstock.core.stats import Counters
from penstock.core.watch import Watch

Members = list[tuple[Sequence, int]]
"""The sequences of a step with their row counts, in the order of its work items."""


class SchedulerState:
    """The scheduler's books. Every sequence is in exactly one of `waiting` and `running` until it ends.

    Args:
        spec: what the executor can hold.
        policies: one per slot.
        max_seqs: sequences running at once (at most the executor's slots).
        max_tokens: largest token budget of a step.
        prefix_caching: whether prompt prefixes are reused.
        prefix_wait: whether a sequence waits for a page that another one is computing.
        sink: receiver of state transitions.
        cost: step times, for policies that ask.

    Raises:
        ConfigError: pins without a prefix cache to pin in.
    """

    def __init__(
        self,
        spec: ExecutorSpec,
        policies: Policies,
        *,
        max_seqs: int,
        max_tokens: int,
        prefix_caching: bool = True,
        prefix_wait: bool = False,
        sink: EventSink | None = None,
        cost: StepCost | None = None,
    ) -> None:
        self.spec = spec
        self.policies = policies
        self.cost = cost
        self.watch = Watch(policies)
        self.max_tokens = max_tokens
        self.sink = sink
        self.now = 0.0
        self.kv = KVManager(
            spec.blocks,
            spec.page_size,
            policies.evict,
            prefix_caching=prefix_caching,
            fingerprint=spec.cache_fingerprint,
            prefix_wait=prefix_wait,
        )
        if policies.retain.reason is not None and not prefix_caching:
            raise ConfigError("schedule.retain", "pinning needs cache.enable_prefix_caching")
        self.programs = ProgramBook()
        self.waiting = WaitingQueue(policies.order)
        self.running = RunningSet(policies.order)
        self.slots = SlotResource(min(max_seqs, spec.slots))
        self._room = KVResource(self.kv)
        wait: tuple[Resource, ...] = (PrefixResource(self.kv),) if prefix_wait and prefix_caching else ()
        self.resources: tuple[Resource, ...] = (*wait, self.slots, self._room)
        self.sequences: dict[str, Sequence] = {}
        """Every live sequence by request id."""
        self.in_flight: deque[tuple[StepPlan, Members]] = deque()
        """Steps planned and not landed, oldest first."""
        self.suspects: deque[Sequence] = deque()
        """Sequences of a step that failed, to be retried one at a time."""
        self.cohort: Cohort | None = None
        """Prompts between two groups of layers; they run, and none of their tokens is planned yet."""
        self.outbox: list[Output] = []
        self.counters = Counters()

    def bind(self, view: EngineView) -> None:
        """Show the policies the engine."""
        demand = self.policies.reserve.demand
        self._room.demand = lambda seq: demand(seq, view)
        self._view = view
        for tell in self.watch.bind:
            tell(view)

    def at(self, now: float) -> None:
        """Set the time of what happens next, in engine-clock seconds."""
        self.now = self.kv.index.now = now

    def landed(self, ticket: int) -> None:
        """Open the fences of every step up to ``ticket``."""
        self.kv.pool.land(ticket)
        self.slots.land(ticket)

    def move(self, seq: Sequence, to: SeqState) -> None:
        """Change a sequence's state.

        Raises:
            IllegalTransition: the table has no such edge.
        """
        transition(seq, to, self.now, self.sink)

    def give_back(self, seq: Sequence) -> None:
        """Take from a sequence all that admission gave it."""
        if self.cohort is not None:
            self.cohort = self.cohort.without(seq)
        for resource in self.resources:
            resource.release(seq)

    def preempt(self, seq: Sequence) -> None:
        """Send a running sequence back to the queue, to be recomputed."""
        self.running.remove(seq)
        self.give_back(seq)
        seq.preemptions += 1
        if seq.preemptions <= PREEMPTIONS_DATED:
            seq.preempted += (self.now,)
        self.counters.preemptions += 1
        self.move(seq, SeqState.PREEMPTED)
        self.move(seq, SeqState.READY)
        for tell in self.watch.preempt:
            tell(seq, self.now)
        self.waiting.add(seq)

    def finish(self, seq: Sequence, reason: FinishReason, detail: str = "", stop: int | None = None) -> None:
        """Give a sequence its one terminal event and take everything it holds.

        Args:
            seq: a live sequence.
            reason: why it ends.
            detail: more about that; see `FinishReason`.
            stop: the stop token, if one ended it.
        """
        running = seq.state is SeqState.RUNNING
        self._retain(seq, running and reason in (FinishReason.STOP, FinishReason.LENGTH))
        if running:
            self.running.remove(seq)
            self.give_back(seq)
            if seq in self.suspects:
                self.suspects.remove(seq)
        else:
            self.waiting.remove(seq)
        self.move(seq, SeqState.FINISHED)
        del self.sequences[seq.id]
        self.programs.end(seq.spec)
        for tell in self.watch.finish:
            tell(seq, self.now, running)
        self.counters.finished[reason] += 1
        timeline = Timeline(
            seq.arrival, seq.first_scheduled, seq.first_token, seq.last_token, self.now, seq.preempted
        )
        self._say(seq, Finish(reason, detail, stop, timeline, seq.preemptions))

    def _retain(self, seq: Sequence, keep: bool) -> None:
        """Pin what a sequence that ends leaves to its program or group, or end the pin that they have."""
        policy = self.policies.retain
        owner = owner_of(seq.spec, policy.reason) if policy.reason is not None else None
        if owner is None:
            return
        seconds = policy.seconds(seq, self._view)
        if seconds <= 0:
            self.kv.pins.release(owner)
        elif keep:
            tokens = seq.spec.group_tokens if owner.reason == "group" else len(seq.tokens)
            self.kv.pin(seq, owner, seconds, seq.program_arrival, tokens)

    def hand_over(self, seq: Sequence) -> None:
        """End the pin of a program whose next sequence has just been given what it uses of the pages."""
        owner = owner_of(seq.spec, "program")
        if owner is not None:
            self.kv.pins.hand_over(owner)

    def expire_pins(self) -> None:
        """End the pins that are due; a program that waits to be admitted keeps its own."""
        self.kv.pins.expire(self.now, self.waiting.programs.__contains__)

    def _say(self, seq: Sequence, finish: Finish) -> None:
        """Put the terminal event in the outbox, merged with the sequence's last tokens if they are there."""
        last = self.outbox[-1] if self.outbox else None
        if last is not None and last.request_id == seq.id and last.finish is None:
            self.outbox[-1] = msgspec.structs.replace(last, finish=finish)
        else:
            self.outbox.append(Output(seq.id, (), finish, seq.cached_tokens))
