"""`AsyncEngine`: the asyncio face of the engine that the server (or any asyncio program) talks to.

Interface first; see `AsyncEngine.submit` for the contract.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self

from penstock.config.settings import Config
from penstock.core.output import EngineStats
from penstock.engine.messages import EngineInfo, Health
from penstock.frontend.outputs import RequestOutput
from penstock.frontend.prompts import Prompt, RequestOptions


class RequestStream:
    """Deltas of one admitted request: an async iterator and an async context manager.

    Leaving it early in any way (``aclose``, ``async with`` exit, cancellation of the consuming task)
    cancels the request in the engine. A slow consumer finds deltas merged, so memory stays bounded by
    the length of the output.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    prompt: str | None
    finished: bool
    """The terminal output was handed over, or the stream was closed."""

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> RequestOutput:
        """Return the news since the last call; StopAsyncIteration after the one with ``finished``."""
        raise NotImplementedError

    async def aclose(self, detail: str = "client") -> None:
        """Stop; cancels the request in the engine unless it has ended. Idempotent, never blocks."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close."""
        await self.aclose()


class AsyncEngine:
    """Tokenises, submits, follows and cancels requests; owns the engine behind it."""

    config: Config
    info: EngineInfo
    """Context length, vocabulary size, eos ids, memory plan lines and resolved decisions."""
    tokenizer: Any
    """`penstock.frontend.text.tokenizer.Tokenizer`: encode, decode, render_chat, token_text ..."""

    @classmethod
    async def start(
        cls, config: Config, *, build: str = "", on_boot_line: Callable[[str], None] | None = None
    ) -> AsyncEngine:
        """Start the engine (in a process of its own unless ``config.server.inproc``) and wait until ready.

        Raises:
            ConfigError: a setting, model folder or checkpoint cannot be used.
            EngineDead: the engine failed to start; the text carries the cause.
        """
        raise NotImplementedError

    async def submit(
        self,
        prompt: Prompt,
        params: Any = None,
        *,
        request_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> RequestStream:
        """Validate, tokenise and admit one request.

        When it returns, the request is admitted: every refusal has been raised already, so a server may
        send its headers. The stream ends with exactly one output that has ``finished`` set; failures
        after admission come as ``finish_reason`` "error" (or "abort") with ``detail``, never as exceptions.

        Args:
            prompt: text, token ids, or a conversation.
            params: a mapping of sampling parameters (or `GenerationParams`, or None for defaults).
            request_id: unique among live requests; drawn when None.
            options: tenant, priority, SLO...

        Raises:
            InvalidRequest: names the field at fault (``prompt``, ``messages``, ``max_tokens``...).
            Overloaded: the admit policy is full, or the engine is draining or restarting.
            EngineDead: the engine is gone for good; the text carries the cause.
        """
        raise NotImplementedError

    def generate(
        self,
        prompt: Prompt,
        params: Any = None,
        *,
        request_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> AsyncIterator[RequestOutput]:
        """`submit` and iterate, as one async generator; raises at the first ``__anext__``."""
        raise NotImplementedError

    async def prepare(self, prompt: Prompt, params: Mapping[str, Any] | None = None) -> Any:
        """Validate and tokenise without submitting (``/tokenize``); ``.prompt_ids`` are the tokens."""
        raise NotImplementedError

    def health(self) -> Health:
        """Return the state (starting, ready, draining, restarting, dead, closed), cause and restart count."""
        raise NotImplementedError

    def live(self) -> int:
        """Return how many requests are unfinished."""
        raise NotImplementedError

    async def stats(self) -> EngineStats:
        """Ask the engine for a snapshot. Raises EngineDead or Overloaded when it cannot answer."""
        raise NotImplementedError

    async def reset_prefix_cache(self) -> bool:
        """Drop all cached prefixes; False if blocks were in use."""
        raise NotImplementedError

    async def drain(self, timeout: float) -> int:
        """Stop admitting, wait up to ``timeout`` seconds for live requests, abort the rest ("shutdown").

        Returns:
            How many requests had to be aborted.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Abort what is live with detail "shutdown" and end the engine; idempotent."""
        raise NotImplementedError
