"""`RequestStream`: what a caller holds of a request that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from penstock.frontend.assembly import Assembly
from penstock.frontend.gather import Reader
from penstock.frontend.outputs import RequestOutput


class RequestStream:
    """Deltas of one admitted request: an async iterator and an async context manager.

    Leaving it early in any way (`aclose`, leaving ``async with``, cancellation of the consuming task,
    forgetting it altogether) cancels the request in the engine. A slow consumer finds deltas merged, so
    memory stays bounded by the length of the output. One consumer at a time.

    Args:
        assembly: the request in the making.
        news: set whenever the assembly has news.
        cancel: cancels what is live of it in the engine, with a detail; must not raise or block.
        reader: decides when ``news`` is set.
    """

    def __init__(
        self, assembly: Assembly, news: asyncio.Event, cancel: Callable[[str], None], reader: Reader
    ) -> None:
        self._reader = reader
        self.request_id = assembly.request_id
        self.prompt_token_ids = assembly.prompt_ids
        self.prompt = assembly.prompt
        self.finished = False
        """The terminal output was handed over, or the stream was closed."""
        self._assembly = assembly
        self._cancel = cancel
        self._news = news
        self._loop = asyncio.get_running_loop()

    def gather(self, tokens: int) -> None:
        """Let the first and the last news come at once, and all others when there are so many tokens."""
        self._reader.interval = tokens

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> RequestOutput:
        """Return the news since the last call; StopAsyncIteration after the one with ``finished``."""
        while not self.finished:
            self._news.clear()
            output = self._assembly.take()
            if output is not None:
                self.finished = output.finished
                return output
            try:
                await self._news.wait()
            except BaseException:
                self.close()
                raise
        raise StopAsyncIteration

    def close(self, detail: str = "client") -> None:
        """Stop; cancels the request in the engine unless it has ended. Idempotent, never blocks or raises."""
        if not self.finished:
            self.finished = True
            self._cancel(detail)
            self._news.set()

    async def aclose(self, detail: str = "client") -> None:
        """`close`, for ``contextlib.aclosing`` and friends."""
        self.close(detail)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def __del__(self) -> None:
        # The last net: a stream that nobody holds can be read by nobody. May run in any thread.
        if not getattr(self, "finished", True) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel, "client")
