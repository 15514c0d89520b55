"""A bounded queue: better an early no than a late one."""

from __future__ import annotations

import math

from penstock.core.plan import PlanShape
from penstock.core.policy import EngineView, Reject, SequenceView, Watcher
from penstock.core.request import RequestSpec
from penstock.policies.registry import register

MEMORY = 10.0
"""Seconds with a queue over which it is measured how fast requests leave it."""


@register("admit", "queue-bound")
class QueueBound(Watcher):
    """Reject while ``limit`` requests wait already, or prompts of ``tokens`` tokens.

    A rejected client is told to come back when the excess will have left the queue: at the rate at which
    requests (or their tokens) left it lately; else, where step times are known, in the time that computing
    the queued prompts takes; else after ``retry_after`` seconds.

    Args:
        limit: most waiting requests, >= 1.
        retry_after: seconds to wait while nothing is known.
        tokens: most prompt tokens of waiting requests, the new one's included; 0 sets no bound. An empty
            queue takes any request.
    """

    def __init__(self, limit: int, retry_after: float = 1.0, tokens: int = 0) -> None:
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"the limit must be a whole number of at least 1, got {limit!r}")
        if not isinstance(tokens, int) or tokens < 0:
            raise ValueError(f"tokens must be a whole number of at least 0, got {tokens!r}")
        self._limit = limit
        self._retry_after = float(retry_after)
        self._most = tokens
        self._queued = [0, 0]
        """Requests that wait for their first admission, and their prompt tokens."""
        self._left = [0.0, 0.0]
        """Requests and prompt tokens that left the queue, fading."""
        self._seconds = 0.0
        """Over how long a time with a queue, fading alike."""
        self._then = 0.0

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Count it."""
        self._pass_time(now)
        self._queued[0] += 1
        self._queued[1] += seq.prompt_length

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """It waits no more."""
        if seq.preemptions == 0:
            self._leave(seq, now)

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """It waits no more if it did."""
        if not running and seq.preemptions == 0:
            self._leave(seq, now)

    def _leave(self, seq: SequenceView, now: float) -> None:
        self._pass_time(now)
        for kind, amount in enumerate((1, seq.prompt_length)):
            self._queued[kind] -= amount
            self._left[kind] += amount

    def _pass_time(self, now: float) -> None:
        """Only time with a queue tells how fast it drains."""
        if now > self._then and self._queued[0]:
            keep = math.exp(-(now - self._then) / MEMORY)
            self._seconds = self._seconds * keep + now - self._then
            self._left = [amount * keep for amount in self._left]
        self._then = now

    def decide(self, spec: RequestSpec, view: EngineView) -> Reject | None:
        """Accept while there is room in the queue."""
        excess = view.waiting + 1 - self._limit
        if excess > 0:
            text = f"{view.waiting} requests are waiting, the limit is {self._limit}"
            return Reject(text, self._until(0, excess, view))
        tokens = self._queued[1]
        excess = tokens + len(spec.prompt_ids) - self._most
        if self._most and tokens and excess > 0:
            text = f"prompts of {tokens} tokens are waiting, the limit is {self._most}"
            return Reject(text, self._until(1, min(excess, tokens), view))
        return None

    def _until(self, kind: int, excess: int, view: EngineView) -> float:
        """Return the seconds until so much (0: requests, 1: tokens) has left the queue."""
        if self._seconds > MEMORY / 10 and self._left[kind] > 0:
            return excess * self._seconds / self._left[kind]
        if view.cost is None:
            return self._retry_after
        tokens = excess if kind else math.ceil(self._queued[1] * excess / max(1, self._queued[0]))
        rows = max(1, min(tokens, view.token_budget))
        shape = PlanShape(rows, 1, 0, rows, 0, rows * (rows + 1) // 2, 1, 0)
        return math.ceil(tokens / rows) * view.cost.step(shape)
