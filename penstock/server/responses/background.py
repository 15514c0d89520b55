"""`BackgroundRun`: generates a response that nobody waits for, and lets whoever wants follow it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from penstock.server.errors import from_exception, is_expected
from penstock.server.feed import Feed
from penstock.server.responses.writer import ResponsesWriter

logger = logging.getLogger("penstock.server")


class BackgroundRun:
    """Drives an admitted feed to its end in a task of its own.

    Args:
        feed: admitted; closed by the run.
        writer: of the response; its events are kept where it is streamed.
        answered: called when it has come to its end regularly.
    """

    def __init__(self, feed: Feed, writer: ResponsesWriter, answered: Callable[[], None]) -> None:
        self.frames: list[bytes] = []
        """Event ``i`` of the stream is at ``i``."""
        self._news = asyncio.Event()
        self._over = False
        writer.queue()
        self.frames += writer.take()
        # Feed and writer belong to the task alone: what a finished run keeps is its events.
        self._task = asyncio.create_task(self._run(feed, writer, answered))

    def size(self) -> int:
        """Return the bytes of the events that are kept."""
        return sum(map(len, self.frames))

    async def cancel(self) -> None:
        """Stop generating and wait until the response says so; does nothing after its end."""
        await asyncio.sleep(0)  # a task that never began could not clean up
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def follow(self, start: int) -> AsyncGenerator[bytes, None]:
        """Yield the events from number ``start`` on, to the end of the response."""
        while True:
            ready = self.frames[start:]
            start += len(ready)
            if ready:
                yield b"".join(ready)
            elif self._over:
                return
            else:
                await self._news.wait()

    async def _run(self, feed: Feed, writer: ResponsesWriter, answered: Callable[[], None]) -> None:
        try:
            async with feed, aclosing(feed.batches()) as batches:
                async for batch in batches:
                    for _, output in batch:
                        writer.push(output)
                    self._publish(writer)
                writer.finish(feed.usage())
                answered()
        except asyncio.CancelledError:
            writer.cancel()
        except Exception as exc:
            error = from_exception(exc)
            bug = None if is_expected(exc) else exc
            logger.warning("response failed: %s", error.message, exc_info=bug, extra={"id": feed.id})
            writer.fail(error)
        finally:
            self._over = True
            self._publish(writer)

    def _publish(self, writer: ResponsesWriter) -> None:
        self.frames += writer.take()
        self._news.set()
        self._news = asyncio.Event()
