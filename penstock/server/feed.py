"""The engine's news of one HTTP request: admitted together, read together, metered, and always closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Self

from penstock.core.output import FinishReason
from penstock.frontend.async_engine import RequestStream
from penstock.frontend.outputs import CompletionOutput, RequestOutput, Usage, merge
from penstock.observe.meter import RequestMeter
from penstock.server.asks import Ask
from penstock.server.errors import APIError
from penstock.server.service import Service

Batch = list[tuple[int, RequestOutput]]
"""Deltas that are ready together, each with the index of its prompt."""


class Feed:
    """Streams of one HTTP request, one per prompt, as one async iterator of batches.

    Made by `admit`. Whatever way it is left (end, error, disconnect), `close` cancels in the engine what
    has not ended, so that no sequence runs for nobody.
    """

    def __init__(self, service: Service, answer_id: str, asks: Sequence[Ask]) -> None:
        self.id = answer_id
        self.began = time.perf_counter()
        self.streams: list[RequestStream] = []
        self._service = service
        self._asks = asks
        self._meters: list[list[RequestMeter]] = []
        self._usages: list[Usage] = []
        self._unfinished = len(asks)
        self._open = False

    async def admit(self) -> Self:
        """Submit all prompts; when one is refused none stays behind.

        Raises:
            InvalidRequest, Overloaded, EngineDead: as `AsyncEngine.submit` does.
        """
        self._open = True
        self._service.live_ids.add(self.id)
        self._service.metrics.connections.inc()
        try:
            for index, ask in enumerate(self._asks):
                # The blank, which no caller's id can hold, keeps these apart from everyone else's.
                request_id = f"{self.id} {index}"
                stream = await self._service.engine.submit(
                    ask.prompt, ask.params, request_id=request_id, options=ask.options
                )
                self.streams.append(stream)
                self._meter(stream, ask)
        except BaseException:
            await self.close()
            raise
        return self

    def _meter(self, stream: RequestStream, ask: Ask) -> None:
        n = ask.params.get("n", 1)
        prompt = len(stream.prompt_token_ids)
        limit = ask.params.get("max_tokens")
        metrics = self._service.metrics
        metrics.choices.observe(n)
        self._meters.append([RequestMeter(metrics, prompt, limit, began=self.began) for _ in range(n)])
        self._usages.append(Usage(prompt_tokens=prompt))

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
                    raise _failure(failed)
                yield batch

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
            if out.finish_reason is not None:
                meter.finish(str(out.finish_reason), out.timeline, out.preemptions, now)
                if out.finish_reason in (FinishReason.ABORT, FinishReason.ERROR):
                    failed = out
        return failed

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

    async def close(self) -> None:
        """Cancel in the engine whatever has not ended; idempotent."""
        if not self._open:
            return
        self._open = False
        self._service.live_ids.discard(self.id)
        self._service.metrics.connections.dec()
        for stream in self.streams:
            await stream.aclose()
        for meter in (meter for meters in self._meters for meter in meters):
            meter.finish("abort")

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
    return APIError(500, f"The request failed: {out.detail or 'no cause given'}", code="generation_failed")
