"""The scheduler: requests in, steps out, results in, news out. No I/O, no clock, no tensors."""

from __future__ import annotations

from penstock.core.errors import ConfigError, InvalidRequest, Overloaded
from penstock.core.landing import Landing
from penstock.core.output import EngineStats, FinishReason, Output
from penstock.core.plan import StepPlan, StepResult
from penstock.core.planning import Planner
from penstock.core.request import RequestSpec
from penstock.core.sequence import Sequence
from penstock.core.state import SchedulerState
from penstock.core.states import SeqState
from penstock.core.view import StateView, snapshot


class Scheduler:
    """Continuous batching over a paged KV cache: `planning.py` and `landing.py` over the books of `state.py`.

    Args:
        state: the books, fresh.
    """

    def __init__(self, state: SchedulerState) -> None:
        self.state = state
        self.view = StateView(state)
        """What the policies are given to look at."""
        state.bind(self.view)
        if not state.spec.layers and state.policies.shape.shape(self.view).stages:
            raise ConfigError(
                "schedule.shape",
                "layered prefill needs an executor that runs groups of layers; this one does not",
            )
        self._planner = Planner(self.state, self.view)
        self._landing = Landing(self.state)
        self._submitted = 0

    def submit(self, spec: RequestSpec, now: float) -> None:
        """Take a request in.

        Raises:
            InvalidRequest: it could never run here.
            Overloaded: the admit policy turned it away.
        """
        s = self.state
        s.at(now)
        seq = Sequence(spec, self._submitted, s.spec.max_model_len)
        self._check(seq)
        refusal = s.policies.admit.decide(spec, self.view)
        if refusal is not None:
            s.counters.refused += 1
            raise Overloaded(refusal.reason, refusal.retry_after)
        self._submitted += 1
        seq.arrival = spec.arrival or now
        seq.program_arrival = s.programs.arrive(spec, seq.arrival)
        s.sequences[spec.id] = seq
        s.counters.submitted += 1
        s.move(seq, SeqState.READY)
        for tell in s.watch.arrive:
            tell(seq, now)
        s.waiting.add(seq)

    def _check(self, seq: Sequence) -> None:
        """Refuse what could never run: nothing that passes can starve for want of room."""
        s, length, limit = self.state, seq.prompt_length, self.state.spec.max_model_len
        if seq.id in s.sequences:
            raise InvalidRequest("request_id", f"{seq.id!r} is in use by a live request")
        if length == 0:
            raise InvalidRequest("prompt", "must have at least one token")
        if length >= limit:
            raise InvalidRequest(
                "prompt",
                f"has {length} tokens; with at least one to generate, at most {limit - 1} fit the context "
                f"of {limit}",
            )
        if s.kv.pages(seq.max_total) > s.spec.blocks:
            raise InvalidRequest(
                "max_tokens",
                f"prompt and output may reach {seq.max_total} tokens, but the KV cache holds "
                f"{s.spec.blocks * s.spec.page_size}",
            )

    def cancel(self, request_id: str, now: float, reason: FinishReason, detail: str) -> bool:
        """End a request early; False if it is not live (it has had its terminal event already)."""
        self.state.at(now)
        seq = self.state.sequences.get(request_id)
        if seq is None:
            return False
        self.state.finish(seq, reason, detail)
        return True

    def plan(self, now: float) -> StepPlan | None:
        """Decide the next step; None when there is nothing to do before another step lands."""
        self.state.at(now)
        return self._planner.plan()

    def land(self, result: StepResult, now: float) -> None:
        """Take the result of the oldest step in flight in.

        Raises:
            ValueError: the result is not that step's.
        """
        self.state.at(now)
        self._landing.land(result)

    def abandon(self, failed_ticket: int, why: str, now: float) -> None:
        """Undo every step in flight after `failed_ticket` failed; its sequences become suspects.

        A suspect is retried in a step of its own; one that fails alone ends with the error ``why``.
        """
        self.state.at(now)
        self._landing.abandon(failed_ticket, why)

    def take_outputs(self) -> list[Output]:
        """Return the news since the last call, in order."""
        news, self.state.outbox = self.state.outbox, []
        return news

    def has_work(self) -> bool:
        """Whether there is news, or anything live or in flight."""
        s = self.state
        return bool(s.outbox or s.sequences or s.in_flight)

    def live_ids(self) -> list[str]:
        """Return the ids of the requests that have not ended."""
        return list(self.state.sequences)

    def stats(self) -> EngineStats:
        """Return the figures of this moment, in O(1)."""
        return snapshot(self.state)

    def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes; False, with nothing changed, while any is in use."""
        return self.state.kv.reset()
