"""The landing half of the scheduler: what a step's result does to its sequences."""

from __future__ import annotations

from penstock.core.output import FinishReason, Output
from penstock.core.plan import ItemResult, StepResult, TokenLogprobs
from penstock.core.sequence import UNSENT, Sequence
from penstock.core.state import SchedulerState
from penstock.core.states import SeqState


class Landing:
    """Takes the results of steps in, in ticket order.

    Args:
        state: the books.
    """

    def __init__(self, state: SchedulerState) -> None:
        self._s = state

    def land(self, result: StepResult) -> None:
        """Commit the oldest step in flight.

        Raises:
            ValueError: the result belongs to another step, or has not one entry per work item.
        """
        s = self._s
        if not s.in_flight:
            raise ValueError(f"result of step {result.ticket} came while none was expected")
        plan, members = s.in_flight[0]
        if result.ticket != plan.ticket or len(result.items) != len(members):
            raise ValueError(f"result of step {result.ticket} came while {plan.ticket} was expected")
        s.in_flight.popleft()
        ticket, page = result.ticket, s.kv.page
        running, finished = SeqState.RUNNING, SeqState.FINISHED
        tell, now, outbox, alone = s.watch.tokens, s.now, s.outbox, 0
        for (seq, n), work, item in zip(members, plan.items, result.items, strict=True):
            if seq.state is finished:
                continue
            if item.error is not None:
                s.finish(seq, FinishReason.ERROR, item.error)
                continue
            if ticket > seq.void_through and seq.state is running:
                done = seq.computed = work.start + n
                if done >= (seq.published + 1) * page:
                    s.kv.commit(seq)
                if n == 1 and work.start >= seq.prompt_length and done > seq.high_water:
                    seq.high_water = done
                    fresh = 0
                else:
                    fresh = self._count(seq, work.start, done)
            else:
                fresh = 0
            tokens = item.tokens
            for call in tell:
                call(seq, fresh, len(tokens))
            if len(tokens) == 1 and item.prompt_logprobs is None and item.pooled is None:
                # Nearly every item of nearly every step: `_deliver`, without its generality.
                known, token = seq.tokens, tokens[0]
                known.append(token)
                seq.last_token = now
                if not seq.first_token:
                    seq.first_token = now
                alone += 1
                outbox.append(Output(seq.id, tokens, None, seq.cached_tokens, item.logprobs))
                if item.ended or token in seq.stops or len(known) >= seq.max_total:
                    self._end(seq, token, item.ended)
            elif tokens or item.prompt_logprobs or item.pooled or item.ended:
                self._deliver(seq, item, work.start)
        s.counters.generated_tokens += alone
        s.landed(ticket)
        if s.suspects and len(members) == 1 and s.suspects[0] is members[0][0]:
            s.suspects.popleft()

    def _count(self, seq: Sequence, start: int, done: int) -> int:
        """Split the tokens just computed into fresh prompt work, which is returned, and recomputation."""
        counters, known = self._s.counters, seq.high_water
        fresh = max(0, min(done, seq.prompt_length) - max(start, known))
        counters.recomputed_tokens += max(0, min(known, done) - start)
        counters.prompt_tokens += fresh
        seq.high_water = max(known, done)
        return fresh

    def _deliver(self, seq: Sequence, item: ItemResult, start: int) -> None:
        s, tokens, known = self._s, item.tokens, seq.tokens
        if tokens:
            seq.last_token = s.now
            if not seq.first_token:
                seq.first_token = s.now
        kept = 0
        for token in tokens:
            known.append(token)
            kept += 1
            if _ending(seq, token) is not None:
                break
        s.counters.generated_tokens += kept
        if kept < len(tokens):
            tokens = tokens[:kept]
        scores = _unseen(seq, item.prompt_logprobs, start) if item.prompt_logprobs else None
        s.outbox.append(Output(seq.id, tokens, None, seq.cached_tokens, item.logprobs, scores, item.pooled))
        if kept:
            self._end(seq, tokens[-1], item.ended)
        elif item.ended:
            s.finish(seq, FinishReason.STOP)

    def _end(self, seq: Sequence, token: int, ended: bool) -> None:
        """Finish a sequence if its last token ends it; ``ended`` says that its grammar does."""
        reason = FinishReason.STOP if ended else _ending(seq, token)
        if reason is not None:
            self._s.finish(seq, reason, "", token if reason is FinishReason.STOP else None)

    def abandon(self, failed_ticket: int, why: str) -> None:
        """Forget every step in flight; see `penstock.core.scheduler.Scheduler.abandon`."""
        s = self._s
        failed: list[Sequence] = []
        newest = failed_ticket
        for plan, members in s.in_flight:
            newest = max(newest, plan.ticket)
            for seq, _ in members:
                if seq.state is SeqState.FINISHED:
                    continue
                seq.target = len(seq.tokens)
                seq.planned = seq.computed
                seq.table_sent = UNSENT
                if plan.ticket == failed_ticket and seq.state is SeqState.RUNNING:
                    failed.append(seq)
        s.in_flight.clear()
        s.cohort = None
        s.landed(newest)
        if len(failed) == 1:
            s.finish(failed[0], FinishReason.ERROR, why)
        else:
            s.suspects.extend(seq for seq in failed if seq not in s.suspects)


def _ending(seq: Sequence, token: int) -> FinishReason | None:
    """Say why a sequence ends with ``token``, its last; None if it goes on."""
    if token in seq.stops and seq.generated >= seq.spec.sampling.min_tokens:
        return FinishReason.STOP
    return FinishReason.LENGTH if len(seq.tokens) >= seq.max_total else None


def _unseen(seq: Sequence, scores: tuple[TokenLogprobs, ...], start: int) -> tuple[TokenLogprobs, ...] | None:
    """Cut off prompt scores delivered before (a preempted prompt is scored again from its start)."""
    skip = max(0, seq.scored - start)
    seq.scored = max(seq.scored, start + len(scores))
    return scores[skip:] or None
