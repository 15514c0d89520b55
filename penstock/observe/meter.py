"""Follows one sequence from its first delta to its end and tells the histograms."""

from __future__ import annotations

from penstock.observe.labels import DEFAULT
from penstock.observe.metrics import Metrics
from penstock.observe.milestones import Milestones


class RequestMeter:
    """Meter of one sequence; a request with ``n`` answers has ``n`` of them.

    What a client waits for (first token, gaps, the whole) is measured by the caller's clock, from when the
    request reached the server; what happened in the engine comes from its timeline.

    Args:
        metrics: where to record.
        prompt_tokens: length of the prompt.
        max_tokens: limit asked for; None when the context is the limit.
        began: when the request reached the server, seconds of the clock of `delta` and `finish`.
        tenant: whose request it is.
        priority: its priority.
    """

    __slots__ = (
        "_account",
        "_began",
        "_done",
        "_last",
        "_metrics",
        "cached_tokens",
        "generated",
        "max_tokens",
        "prompt_tokens",
    )

    def __init__(
        self,
        metrics: Metrics,
        prompt_tokens: int,
        max_tokens: int | None = None,
        *,
        began: float,
        tenant: str = DEFAULT,
        priority: int = 0,
    ) -> None:
        self._metrics = metrics
        self._account = metrics.account(tenant, priority)
        self._began = began
        self._last: float | None = None
        self._done = False
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.cached_tokens = 0
        self.generated = 0

    def delta(self, tokens: int, now: float) -> None:
        """Count newly arrived tokens; those that arrive together share the time since the last ones.

        Args:
            tokens: how many.
            now: seconds of any monotonic clock, the same at each call.
        """
        if tokens <= 0:
            return
        account = self._account
        if self._last is None:
            self._first(now)
            gaps = tokens - 1
        else:
            gaps = tokens
        if gaps:
            gap = (now - self._last) / gaps if self._last is not None else 0.0
            observe = account.itl.observe
            for _ in range(gaps):
                observe(gap)
        self._last = now
        self.generated += tokens
        account.generated_tokens.inc(tokens)

    def _first(self, now: float) -> None:
        account, to, computed = self._account, self._metrics, self.prompt_tokens - self.cached_tokens
        account.ttft.observe(now - self._began)
        to.recent.ttft.add(now - self._began)
        account.prompt_tokens.inc(self.prompt_tokens)
        account.cached_tokens.inc(self.cached_tokens)
        to.computed_source.inc(max(0, computed))
        to.cached_source.inc(self.cached_tokens)

    def finish(
        self, reason: str, line: Milestones | None = None, preemptions: int = 0, now: float | None = None
    ) -> None:
        """Record the terminal event; only the first call counts.

        Args:
            reason: stop, length, abort or error.
            line: milestones, None when it never reached the engine.
            preemptions: how often it lost its memory.
            now: seconds of the clock of `delta`; None for a sequence whose end nobody waited for.
        """
        if self._done:
            return
        self._done = True
        to, account = self._metrics, self._account
        account.finished[reason].inc()
        to.prompt_length.observe(self.prompt_tokens)
        to.answer_length.observe(self.generated)
        to.request_preemptions.observe(preemptions)
        if self.max_tokens is not None:
            to.max_tokens.observe(self.max_tokens)
        if line is None:
            return
        if line.first_scheduled and line.arrival:
            account.queue.observe(line.first_scheduled - line.arrival)
            to.recent.queue.add(line.first_scheduled - line.arrival)
        if not line.first_token:
            return
        to.prefill.observe(line.first_token - line.first_scheduled)
        if now is not None:
            account.e2e.observe(now - self._began)
            to.recent.e2e.add(now - self._began)
        to.decode.observe(line.last_token - line.first_token)
        to.inference.observe(line.last_token - line.first_scheduled)
        if self.generated > 1:
            tpot = (line.last_token - line.first_token) / (self.generated - 1)
            account.tpot.observe(tpot)
            to.recent.tpot.add(tpot)
