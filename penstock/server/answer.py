"""One generation request from admission to its last byte, the same for every endpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response

from penstock.server.connection import DONE, ClientGone, EventStream, event, while_connected
from penstock.server.errors import from_exception, is_expected
from penstock.server.feed import Batch, Feed
from penstock.server.service import Service
from penstock.server.writing import Writer

logger = logging.getLogger("penstock.server")


def answer_id(service: Service, request: Request, prefix: str, given: str | None) -> str:
    """Return the id of a new answer: the caller's request id where it brought one, unique among the live."""
    wanted = f"{prefix}-{given or request.state.request_id}"
    unique, copies = wanted, 0
    while unique in service.live_ids:  # retries of proxies repeat ids
        copies += 1
        unique = f"{wanted}.{copies}"
    return unique


async def answer(
    service: Service, request: Request, feed: Feed, writer: Writer, *, stream: bool, usage: bool
) -> Response:
    """Admit the request, then answer it whole or as a stream.

    A stream's headers wait for its first news, so that a request that fails at once gets a true status.

    Raises:
        PenstockError, APIError: it was refused or failed before anything was sent.
    """
    try:
        await feed.admit()
        if stream:
            return await _stream(request, feed, writer, usage)
        async with feed:
            outputs = await while_connected(request.receive, feed.whole())
            _note(request, feed)
            return Response(writer.whole(outputs, feed.usage()), media_type="application/json")
    except ClientGone:
        logger.info("client left", extra={"request_id": request.state.request_id, "id": feed.id})
        return Response(status_code=499)
    except BaseException as exc:
        await feed.close()
        if isinstance(exc, Exception):
            status = str(from_exception(exc).status)
            service.metrics.rejected.labels(service.model, status).inc()
        raise


async def _stream(request: Request, feed: Feed, writer: Writer, usage: bool) -> Response:
    batches = feed.batches()
    try:
        first = await while_connected(request.receive, _first(batches))
    except BaseException:
        await batches.aclose()
        await feed.close()
        raise
    return EventStream(_events(request, feed, _chain(first, batches), writer, usage), cleanup=feed.close)


async def _first(batches: AsyncGenerator[Batch, None]) -> Batch:
    return await anext(batches, [])


async def _chain(first: Batch, rest: AsyncGenerator[Batch, None]) -> AsyncGenerator[Batch, None]:
    async with aclosing(rest):
        yield first
        async for batch in rest:
            yield batch


async def _events(
    request: Request, feed: Feed, batches: AsyncGenerator[Batch, None], writer: Writer, usage: bool
) -> AsyncGenerator[bytes, None]:
    """Yield what is written to the socket: all that is ready in one piece, the end with the last news."""
    try:
        async with aclosing(batches):
            async for batch in batches:
                data = _encode(batch, feed, writer)
                if feed.finished:
                    data += event(writer.usage_chunk(feed.usage())) if usage else b""
                    _note(request, feed)
                    data += DONE
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
        yield event(error.body()) + DONE


def _encode(batch: Batch, feed: Feed, writer: Writer) -> bytes:
    usage = feed.usage()
    return b"".join(event(chunk) for index, output in batch for chunk in writer.chunks(index, output, usage))


def _note(request: Request, feed: Feed) -> None:
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
