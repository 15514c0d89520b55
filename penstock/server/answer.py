"""One generation request from admission to its last byte, the same for every endpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from penstock.frontend.outputs import Usage
from penstock.server.connection import DONE, ClientGone, EventStream, event, while_connected
from penstock.server.envelope import add_headers
from penstock.server.errors import APIError, from_exception, is_expected
from penstock.server.feed import Batch, Feed
from penstock.server.principal import principal_of
from penstock.server.protocol import ON_UNREAD, UNREAD
from penstock.server.request_log import log_request
from penstock.server.service import Service
from penstock.server.writing import Writer

logger = logging.getLogger("penstock.server")


def answer_id(service: Service, request: Request, prefix: str, given: str | None) -> str:
    """Return the id of a new answer: the caller's request id where it brought one, unique among the live."""
    wanted = f"{prefix}-{given or request.state.request_id}"
    unique, copies = wanted, 0
    while unique in service.live:  # retries of proxies repeat ids
        copies += 1
        unique = f"{wanted}.{copies}"
    return unique


class StreamForm(Protocol):
    """What one dialect writes to a stream, framed as server-sent events; one instance per request."""

    def news(self, batch: Batch, usage: Usage) -> bytes:
        """Return the events of deltas that are ready together; may be nothing."""
        ...

    def end(self, usage: Usage) -> bytes:
        """Return the events after the last news; the last of them is the dialect's terminal one."""
        ...

    def failure(self, error: APIError) -> bytes:
        """Return the terminal event of a stream that cannot go on."""
        ...


class ChunkForm:
    """The streams of chat and completions: chunks that differ in their news only, then ``[DONE]``."""

    def __init__(self, writer: Writer, usage: bool) -> None:
        self._writer = writer
        self._usage = usage

    def news(self, batch: Batch, usage: Usage) -> bytes:
        """Return the chunks of a batch."""
        return b"".join(
            event(chunk) for index, output in batch for chunk in self._writer.chunks(index, output, usage)
        )

    def end(self, usage: Usage) -> bytes:
        """Return the chunk with the token counts, where it was asked for, and the end mark."""
        return (event(self._writer.usage_chunk(usage)) if self._usage else b"") + DONE

    def failure(self, error: APIError) -> bytes:
        """Return the error as a chunk, and the end mark."""
        return event(error.body()) + DONE


async def answer(
    service: Service, request: Request, feed: Feed, writer: Writer, *, stream: bool, usage: bool
) -> Response:
    """Answer in chat's or completions' form. Raises as `respond` does."""

    async def whole() -> bytes:
        return writer.whole(await feed.whole(), feed.usage())

    return await respond(service, request, feed, ChunkForm(writer, usage) if stream else whole)


_UNREAD_ERROR = APIError(408, "The client did not read its answer.", code="slow_client")


async def respond(
    service: Service, request: Request, feed: Feed, how: StreamForm | Callable[[], Coroutine[Any, Any, bytes]]
) -> Response:
    """Admit the request, then answer it as a stream of some form, or whole by a function that reads the feed.

    A stream's headers wait for its first news, so that a request that fails at once gets a true status.

    Raises:
        PenstockError, APIError: it was refused or failed before anything was sent.
    """
    request.scope["state"][ON_UNREAD] = partial(feed.stop, UNREAD, _UNREAD_ERROR)
    await admit(service, request, feed, streaming=not callable(how))
    try:
        if not callable(how):
            return await _stream(request, feed, how)
        async with feed:
            body = await while_connected(request.receive, how())
            note(request, feed)
            return Response(body, media_type="application/json")
    except ClientGone:
        logger.info("client left", extra={"request_id": request.state.request_id, "id": feed.id})
        return Response(status_code=499)
    except BaseException as exc:
        await feed.close()
        _count_failure(service, feed, exc)
        raise


async def admit(service: Service, request: Request, feed: Feed, *, streaming: bool) -> None:
    """Admit a request: what holds for all, whether somebody waits for the answer or not.

    Args:
        service: whose engine is asked.
        request: its principal's limits hold.
        feed: of the request.
        streaming: the news are wanted as they come.

    Raises:
        PenstockError, APIError: it was refused.
    """
    feed.streaming = streaming
    try:
        await feed.admit(principal_of(request))
    except BaseException as exc:
        _count_failure(service, feed, exc)
        raise
    add_headers(request, feed.rate_headers())
    log_request(service.config.server, request, feed)


def _count_failure(service: Service, feed: Feed, exc: BaseException) -> None:
    if isinstance(exc, Exception):
        error = from_exception(exc)
        service.metrics.reject(error.status, error.code or "other", feed.options.tenant)


async def _stream(request: Request, feed: Feed, form: StreamForm) -> Response:
    batches = feed.batches()
    try:
        first = await while_connected(request.receive, _first(batches))
    except BaseException:
        await batches.aclose()
        await feed.close()
        raise
    return EventStream(_events(request, feed, _chain(first, batches), form), cleanup=feed.close)


async def _first(batches: AsyncGenerator[Batch, None]) -> Batch:
    return await anext(batches, [])


async def _chain(first: Batch, rest: AsyncGenerator[Batch, None]) -> AsyncGenerator[Batch, None]:
    async with aclosing(rest):
        yield first
        async for batch in rest:
            yield batch


async def _events(
    request: Request, feed: Feed, batches: AsyncGenerator[Batch, None], form: StreamForm
) -> AsyncGenerator[bytes, None]:
    """Yield what is written to the socket: all that is ready in one piece, the end with the last news."""
    ended = False
    try:
        async with aclosing(batches):
            async for batch in batches:
                data = form.news(batch, feed.usage())
                if feed.finished:
                    data += form.end(feed.usage())
                    note(request, feed)
                    ended = True
                if data:
                    yield data
    except Exception as exc:
        error = from_exception(exc)
        bug = None if is_expected(exc) else exc
        logger.warning(
            "stream failed: %s",
            error.message,
            exc_info=bug,
            extra={"request_id": request.state.request_id},
        )
        if not ended:
            yield form.failure(error)


def note(request: Request, feed: Feed) -> None:
    """Log that a request was answered, with its token counts and without its text."""
    usage = feed.usage()
    logger.info(
        "answered",
        extra={
            "request_id": request.state.request_id,
            "id": feed.id,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "seconds": round(time.perf_counter() - feed.began, 4),
        },
    )
