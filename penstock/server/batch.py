"""Batch files: OpenAI's JSON lines, answered by the application in this process, without a socket."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import httpx
import msgspec
from fastapi import FastAPI

from penstock.engine.messages import EngineDead

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""Endpoints that lines may name."""

_BUSY = frozenset({429, 503})
_LONGEST_WAIT = 30.0
_HOPELESS = frozenset({"dead", "closed"})
_AFTER_DEATH = 1.0
"""Seconds until a request that an engine's death failed is asked again."""
_DEATHS = 3
"""After so many deaths under it a request is held to be the cause."""


class BatchResponse(msgspec.Struct, frozen=True):
    """What the endpoint answered, an error of its own included."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class BatchError(msgspec.Struct, frozen=True):
    """Why a line was not asked at all."""

    code: str
    message: str
    param: str | None
    line: int
    """Number of the line in the input, from 1."""


class BatchAnswer(msgspec.Struct, frozen=True):
    """One line of the output."""

    id: str
    custom_id: str | None
    response: BatchResponse | None
    error: BatchError | None


class BatchTally(msgspec.Struct):
    """What came of a run."""

    answered: int = 0
    """Lines answered with a status below 400."""
    failed: int = 0
    """Lines answered with an error."""
    malformed: int = 0
    """Lines that could not be asked."""
    skipped: int = 0
    """Lines that the output answered already."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Past(msgspec.Struct, frozen=True):
    """What an earlier run wrote already."""

    custom_ids: set[str] = msgspec.field(default_factory=set)
    lines: set[int] = msgspec.field(default_factory=set)
    """Numbers of malformed lines."""


class _Line(msgspec.Struct):
    custom_id: str
    url: str
    body: msgspec.Raw
    method: Literal["POST"] = "POST"


class _Peek(msgspec.Struct):
    """What an answer that is one line cannot do."""

    stream: Any = None
    background: Any = None


class _Named(msgspec.Struct):
    custom_id: Any = None


class _Counts(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class _Counted(msgspec.Struct):
    usage: _Counts | None = None


class _Malformed(Exception):
    def __init__(self, message: str, param: str | None = None, code: str = "invalid_line") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class BatchRun:
    """One run over the lines of a batch.

    Args:
        app: of `create_app`; its engine is running and no key is asked for.
        write: takes each answer as it comes, in no particular order.
        past: what need not be asked again.
        progress: called after each line.
    """

    def __init__(
        self,
        app: FastAPI,
        write: Callable[[BatchAnswer], None],
        past: Past | None = None,
        progress: Callable[[BatchTally], None] = lambda tally: None,
    ) -> None:
        self.tally = BatchTally()
        self._app = app
        self._write = write
        self._past = past or Past()
        self._progress = progress
        self._seen: set[str] = set()

    async def run(self, lines: Iterable[bytes], concurrency: int) -> BatchTally:
        """Answer all lines, some at a time; blank ones are passed over.

        Raises:
            EngineDead: the engine is gone for good; what was written stays, the rest can be asked later.
        """
        numbered = iter(enumerate(lines, 1))
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://batch", timeout=None) as client:
            workers = [asyncio.ensure_future(self._work(client, numbered)) for _ in range(concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return self.tally

    async def _work(self, client: httpx.AsyncClient, numbered: Iterator[tuple[int, bytes]]) -> None:
        for number, raw in numbered:
            if raw.strip():
                await self._line(client, number, raw)
                self._progress(self.tally)
                await asyncio.sleep(0)  # a run of malformed or known lines must not hold up the others

    async def _line(self, client: httpx.AsyncClient, number: int, raw: bytes) -> None:
        try:
            line = self._parse(raw)
        except _Malformed as exc:
            if number in self._past.lines:
                self.tally.skipped += 1
                return
            self.tally.malformed += 1
            error = BatchError(exc.code, str(exc), exc.param, number)
            self._write(BatchAnswer(_new_id(), _custom_id(raw), None, error))
            return
        if line.custom_id in self._past.custom_ids:
            self.tally.skipped += 1
            return
        response = await self._ask(client, line)
        self._count(response)
        self._write(BatchAnswer(_new_id(), line.custom_id, response, None))

    def _parse(self, raw: bytes) -> _Line:
        """Return a line that can be asked. Raises _Malformed for any other."""
        try:
            line = msgspec.json.decode(raw, type=_Line)
            peek = msgspec.json.decode(line.body, type=_Peek)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise _Malformed(f"The line is not a request: {exc}") from None
        if line.url not in URLS:
            raise _Malformed(
                f"expected one of {', '.join(URLS)}, got {line.url[:200]!r}", "url", "invalid_url"
            )
        for field in ("stream", "background"):
            if getattr(peek, field):
                raise _Malformed("is not possible in a batch", f"body.{field}", "invalid_value")
        if line.custom_id in self._seen:
            message = f"an earlier line has the same, {line.custom_id[:200]!r}"
            raise _Malformed(message, "custom_id", "duplicate_custom_id")
        self._seen.add(line.custom_id)
        return line

    async def _ask(self, client: httpx.AsyncClient, line: _Line) -> BatchResponse:
        """Return the answer; an engine that is full is waited for, one that died is asked again."""
        engine = self._app.state.service.engine
        deaths = 0
        while True:
            restarts = engine.health().restarts
            reply = await client.post(
                line.url, content=bytes(line.body), headers={"Content-Type": "application/json"}
            )
            health = engine.health()
            if health.state in _HOPELESS:
                raise EngineDead(health.cause or "the engine is closed")
            died = health.state == "restarting" or health.restarts != restarts
            wait = _wait(reply)
            if wait is None and reply.status_code >= 500 and died and deaths < _DEATHS:
                wait = _AFTER_DEATH  # maybe it was another request that killed it
                deaths += 1
            if wait is None:
                return BatchResponse(
                    reply.status_code, reply.headers.get("X-Request-Id", ""), msgspec.Raw(reply.content)
                )
            await asyncio.sleep(wait)

    def _count(self, response: BatchResponse) -> None:
        if response.status_code >= 400:
            self.tally.failed += 1
            return
        self.tally.answered += 1
        usage = msgspec.json.decode(response.body, type=_Counted).usage or _Counts()
        self.tally.prompt_tokens += usage.prompt_tokens + usage.input_tokens
        self.tally.completion_tokens += usage.completion_tokens + usage.output_tokens


def _wait(reply: httpx.Response) -> float | None:
    """Return after how many seconds to ask again; None if that is no use."""
    after = reply.headers.get("Retry-After", "")
    if reply.status_code not in _BUSY or not after.isdigit():
        return None
    return min(float(after), _LONGEST_WAIT)


def _new_id() -> str:
    return f"batch_req_{uuid.uuid4().hex}"


def _custom_id(raw: bytes) -> str | None:
    """Return the id of a line that is otherwise wrong, if it has one."""
    try:
        found = msgspec.json.decode(raw, type=_Named).custom_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
