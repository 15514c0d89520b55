"""The engine's news of one HTTP request: admitted together, read together, metered, and always closed."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Self

import msgspec

from penstock.core.errors import InvalidRequest
from penstock.core.output import UNSATISFIABLE, FinishReason
from penstock.frontend.async_engine import RequestStream
from penstock.frontend.intake import Prepared
from penstock.frontend.outputs import CompletionOutput, RequestOutput, Usage, merge
from penstock.frontend.prompts import RequestOptions
from penstock.observe.meter import RequestMeter
from penstock.server.asks import Ask
from penstock.server.errors import APIError, from_exception
from penstock.server.limits import Lease
from penstock.server.principal import ANONYMOUS, Principal
from penstock.server.service import Service
from penstock.server.timers import Timers

logger = logging.getLogger("penstock.server")

Batch = list[tuple[int, RequestOutput]]
"""Deltas that are ready together, each with the index of its prompt."""

WHOLE_INTERVAL = 32
"""Tokens gathered at a time for an answer that is sent whole: often enough to count by."""


class Feed:
    """Streams of one HTTP request, one per prompt, as one async iterator of batches.

    Made by `admit`. Whatever way it is left (end, error, disconnect), `close` cancels in the engine what
    has not ended, so that no sequence runs for nobody.
    """

    def __init__(self, service: Service, answer_id: str, asks: Sequence[Ask]) -> None:
        self.id = answer_id
        self.began = time.perf_counter()
        self.streams: list[RequestStream] = []
        self.principal = ANONYMOUS
        self.streaming = True
        """Whether the news are passed on as they come; set before `admit`."""
        self._service = service
        self.asks = asks
        self._meters: list[list[RequestMeter]] = []
        self._usages: list[Usage] = []
        self._unfinished = len(asks)
        self._lease: Lease | None = None
        self._timers: Timers | None = None
        self._stopped: APIError | None = None
        self._span = service.span(answer_id, self.options)
        """The request as a trace sees it; None without tracing."""

    async def admit(self, principal: Principal = ANONYMOUS) -> Self:
        """Submit all prompts; when one is refused none stays behind.

        Args:
            principal: who asks, and whose limits hold.

        Raises:
            InvalidRequest, Overloaded, EngineDead: as `AsyncEngine.submit` does.
            APIError: 429 when the principal is over its limits, 504 when its time is up.
        """
        self.principal = principal
        self._lease = self._service.limiter.enter(principal)
        self._service.live[self.id] = self
        self._service.metrics.connections.inc()
        try:
            self._timers = Timers(self.stop, *self._times())
            try:
                async with asyncio.timeout(self._timers.shortest) as bound:
                    await self._submit(self._lease)
            except TimeoutError:
                if not bound.expired():
                    raise
                raise self._timers.late() from None
        except BaseException as error:
            gone = isinstance(error, asyncio.CancelledError)
            await self.close("client_gone" if gone else from_exception(error).code or "error")
            raise
        return self

    def _times(self) -> tuple[float | None, float | None]:
        """Return the seconds that the request may take, and those that it may wait."""
        server = self._service.config.server
        given = [ask.timeout for ask in self.asks if ask.timeout is not None]
        total = min([*given, server.request_timeout or math.inf])
        return total if total < math.inf else None, server.queue_timeout or None

    async def _submit(self, lease: Lease) -> None:
        engine = self._service.engine
        prompts = [await engine.prepare(ask.prompt, ask.params) for ask in self.asks]
        prompts = lease.reserve(prompts, engine.info.max_model_len)
        try:
            for index, (ask, prompt) in enumerate(zip(self.asks, prompts, strict=True)):
                # The blank, which no caller's id can hold, keeps these apart from everyone else's.
                request_id = f"{self.id} {index}"
                stream = await self._begin(ask, prompt, request_id)
                lease.admitted()  # an /abort may stop us below: no way around limits
                stream.gather(self._interval(ask))
                self.streams.append(stream)
                self._meter(prompt)
                if self._stopped is not None:
                    raise self._stopped
        except asyncio.CancelledError:
            lease.admitted()  # the engine may have taken it in: nor must leaving early
            raise

    async def _begin(self, ask: Ask, prompt: Prepared, request_id: str) -> RequestStream:
        engine, grammar = self._service.engine, ask.options.grammar
        try:
            return await engine.submit(prompt, request_id=request_id, options=ask.options)
        except InvalidRequest as error:
            if grammar is None or not ask.lenient or error.field != grammar.field:
                raise
            logger.info("answering without a grammar: %s", error, extra={"id": self.id})
        free = msgspec.structs.replace(ask.options, grammar=None)
        return await engine.submit(prompt, request_id=request_id, options=free)

    def _interval(self, ask: Ask) -> int:
        if not self.streaming:
            return WHOLE_INTERVAL
        return ask.interval or self._service.config.server.stream_interval

    def _meter(self, prompt: Prepared) -> None:
        n, length, limit = prompt.params.n, len(prompt.prompt_ids), prompt.params.max_tokens
        metrics = self._service.metrics
        metrics.choices.observe(n)
        who = self.options
        if who.grammar is not None:
            metrics.grammar(who.grammar.kind)
        self._meters.append(
            [
                RequestMeter(
                    metrics, length, limit, began=self.began, tenant=who.tenant, priority=who.priority
                )
                for _ in range(n)
            ]
        )
        self._usages.append(Usage(prompt_tokens=length))
        if self._span is not None:
            self._span.asked(prompt.params)

    def rate_headers(self) -> dict[str, str]:
        """Return what is left of the principal's limits, as headers."""
        return {} if self._lease is None else self._lease.headers()

    def stop(self, detail: str, error: APIError) -> None:
        """End the request from outside, unless it has ended.

        Args:
            detail: reason of the abort, for the engine.
            error: what the reader of the feed is told.
        """
        if self._lease is not None and self._stopped is None and not self.finished:
            self._stopped = error
            for stream in self.streams:
                stream.close(detail)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield deltas as they come, together those that are ready together.

        Raises:
            APIError: a sequence failed or was aborted; the true cause is in the text.
        """
        source = _single(self.streams[0]) if len(self.streams) == 1 else _several(self.streams)
        async with aclosing(source):
            async for batch in source:
                now = time.perf_counter()
                failed: CompletionOutput | None = None
                for index, output in batch:
                    self._usages[index] = output.usage
                    self._unfinished -= output.finished
                    failed = self._record(index, output, now) or failed
                if failed is not None:
                    raise self._stopped or _failure(failed)
                yield batch
        if self._stopped is not None and not self.finished:
            raise self._stopped

    @property
    def finished(self) -> bool:
        """Whether the last news of all prompts was read."""
        return self._unfinished == 0

    def _record(self, index: int, output: RequestOutput, now: float) -> CompletionOutput | None:
        failed = None
        for out in output.outputs:
            meter = self._meters[index][out.index]
            meter.cached_tokens = output.usage.cached_tokens if out.index == 0 else meter.cached_tokens
            meter.delta(len(out.token_ids), now)
            self._note_tokens(len(out.token_ids))
            if out.finish_reason is not None:
                self._reasons(out)
                meter.finish(str(out.finish_reason), out.timeline, out.preemptions, now)
                if out.finish_reason in (FinishReason.ABORT, FinishReason.ERROR):
                    failed = out
        return failed

    def _reasons(self, out: CompletionOutput) -> None:
        if self._span is not None:
            self._span.answered(str(out.finish_reason), out.timeline)

    def _note_tokens(self, count: int) -> None:
        if count and self._span is not None:
            self._span.token()
        if count and self._lease is not None and self._timers is not None:
            self._timers.begun()
            self._lease.news(count)

    @property
    def options(self) -> RequestOptions:
        """On whose account the request runs; all its prompts share them."""
        return self.asks[0].options

    async def whole(self) -> list[RequestOutput]:
        """Return the complete outputs, one per prompt. Raises APIError as `batches` does."""
        wholes: dict[int, RequestOutput] = {}
        async for batch in self.batches():
            for index, output in batch:
                if index in wholes:
                    merge(wholes[index], output)
                else:
                    wholes[index] = output
        return [wholes[index] for index in sorted(wholes)]

    def usage(self) -> Usage:
        """Return the token counts so far, over all prompts."""
        if len(self._usages) == 1:
            return self._usages[0]
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in self._usages),
            completion_tokens=sum(usage.completion_tokens for usage in self._usages),
            cached_tokens=sum(usage.cached_tokens for usage in self._usages),
        )

    async def close(self, error: str = "") -> None:
        """Cancel in the engine whatever has not ended; idempotent.

        Args:
            error: code of the error that it ends with, if any.
        """
        lease, self._lease = self._lease, None
        if lease is None:
            return
        lease.close()
        if self._timers is not None:
            self._timers.cancel()
        self._service.live.pop(self.id, None)
        self._service.metrics.connections.dec()
        for stream in self.streams:
            await stream.aclose()
        for meter in (meter for meters in self._meters for meter in meters):
            meter.finish("abort")
        self._trace(error)

    def _trace(self, error: str) -> None:
        """Hand over the span of the request, which has ended."""
        if self._span is None:
            return
        if not error and not self.finished:
            error = (self._stopped.code if self._stopped is not None else None) or "client_gone"
        usage = self.usage()
        self._span.end(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, error)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close."""
        await self.close()


async def _single(stream: RequestStream) -> AsyncGenerator[Batch, None]:
    async for output in stream:
        yield [(0, output)]


async def _several(streams: Sequence[RequestStream]) -> AsyncGenerator[Batch, None]:
    waits = {asyncio.ensure_future(_next(stream)): index for index, stream in enumerate(streams)}
    try:
        while waits:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            batch: Batch = []
            for task in done:
                index = waits.pop(task)
                output = task.result()
                if output is not None:
                    batch.append((index, output))
                    waits[asyncio.ensure_future(_next(streams[index]))] = index
            if batch:
                yield sorted(batch, key=lambda pair: pair[0])
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _next(stream: RequestStream) -> RequestOutput | None:
    return await anext(stream, None)


_ABORTED = {
    "deadline": (504, "The request's deadline passed before its last token.", "deadline_exceeded"),
    "shutdown": (503, "The server shut down before the answer was complete.", "shutting_down"),
    "overload": (503, "The server shed this request under load.", "overloaded"),
}


def _failure(out: CompletionOutput) -> APIError:
    if out.finish_reason is FinishReason.ABORT:
        default = (503, f"The request was aborted ({out.detail or 'no reason given'}).", "aborted")
        status, message, code = _ABORTED.get(out.detail, default)
        return APIError(status, message, code=code, retry_after=1.0 if status == 503 else None)
    if out.detail.startswith(UNSATISFIABLE):
        text = out.detail.removeprefix(UNSATISFIABLE)
        return APIError(400, f"No answer can be as was asked: {text}.", code="unsatisfiable")
    return APIError(500, f"The request failed: {out.detail or 'no cause given'}", code="generation_failed")
