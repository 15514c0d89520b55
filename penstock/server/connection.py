"""Tying work to the client that waits for it: when the client leaves, the work is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed the connection; nobody reads the answer."""


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``, but cancel it (and wait for its cleanup) as soon as the client disconnects.

    The request's body must have been read to its end before.

    Raises:
        ClientGone: the client left first.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class EventStream(Response):
    """Server-sent events: each item of ``events`` is one write to the socket.

    Args:
        events: closed when the client disconnects, at whatever point it is suspended.
        cleanup: called in any case, even when the client left before ``events`` was first asked (a
            generator that never began cannot clean up after itself).
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], cleanup: Callable[[], Awaitable[None]]) -> None:
        # The base class would set a body and with it a length, which a stream does not have.
        self.status_code = 200
        self.background = None
        self._events = events
        self._cleanup = cleanup
        # Proxies must neither cache nor collect what is meant to arrive bit by bit.
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream to its end or to the client's, whichever comes first."""
        try:
            await while_connected(receive, self._pump(send))
        except ClientGone:
            pass
        finally:
            await self._events.aclose()
            await self._cleanup()

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event(data: bytes) -> bytes:
    """Return one server-sent event that carries ``data`` (which has no line break)."""
    return b"data: " + data + b"\n\n"


DONE = event(b"[DONE]")
"""Marks the regular end of a stream in OpenAI's protocol."""
