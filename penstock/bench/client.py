"""A small streaming client of the OpenAI protocol that notes when each piece of output arrived."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.bench.workload import Item
from penstock.core.errors import ConfigError, PenstockError
from penstock.workload.metrics.records import Record

if TYPE_CHECKING:
    import httpx

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go and what every one of them carries."""

    base_url: str
    endpoint: str = COMPLETIONS
    model: str = ""
    api_key: str = ""
    ignore_eos: bool = False
    temperature: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields added to every body."""
    timeout: float = 600.0
    """Seconds a request may go without any news."""

    @property
    def is_chat(self) -> bool:
        """Whether the endpoint takes messages instead of a prompt."""
        return self.endpoint.endswith("chat/completions")

    def body(self, item: Item) -> dict[str, Any]:
        """Return the JSON body of a streaming request.

        Raises:
            ConfigError: token ids cannot be sent to a chat endpoint.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        chat = isinstance(item.prompt, list) and bool(item.prompt) and isinstance(item.prompt[0], dict)
        if self.is_chat and isinstance(item.prompt, str):
            body["messages"] = [{"role": "user", "content": item.prompt}]
        elif self.is_chat != chat:
            needs = "messages or text" if self.is_chat else "text or token ids"
            raise ConfigError(
                "--endpoint", f"{self.endpoint} takes {needs}; choose another endpoint or dataset"
            )
        else:
            body["messages" if chat else "prompt"] = item.prompt
        if item.output_tokens is not None:
            body["max_tokens"] = item.output_tokens
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.ignore_eos:
            body["ignore_eos"] = True
        return body | self.extra | item.extra


def open_client(target: Target, connections: int | None = None) -> httpx.AsyncClient:
    """Return an HTTP client for the target; close it with ``async with``.

    Raises:
        PenstockError: httpx is not installed.
    """
    try:
        import httpx
    except ImportError:
        raise PenstockError("this command needs httpx; install it with: pip install httpx") from None
    headers = {"Authorization": f"Bearer {target.api_key}"} if target.api_key else {}
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(
        base_url=target.base_url.rstrip("/"), headers=headers, limits=limits, timeout=target.timeout
    )


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON payloads of a server-sent event stream, up to ``[DONE]``."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            return
        yield json.loads(data)


def piece_of(event: dict[str, Any]) -> str | None:
    """Return the text that an event carries, or None when it brings no output.

    A completion chunk without text but without an end either stands for a token that shows nothing yet; the
    empty first chunk of a chat only names the role.
    """
    for choice in event.get("choices") or ():
        if "delta" in choice:
            delta = choice["delta"] or {}
            text = (delta.get("reasoning_content") or "") + (delta.get("content") or "")
            if text or delta.get("tool_calls"):
                return text
        elif choice.get("text") or not choice.get("finish_reason"):
            return choice.get("text") or ""
    return None


async def stream(client: httpx.AsyncClient, target: Target, item: Item, due: float | None = None) -> Record:
    """Send one request and follow it to its end; never raises for what the server does.

    Args:
        client: from `open_client`.
        target: where to and how.
        item: what to ask.
        due: ``time.perf_counter()`` at which it should have been sent; None means now.
    """
    import httpx

    body = target.body(item)
    now = time.perf_counter()
    record = Record(now, delay=max(0.0, now - due) if due is not None else 0.0)
    if target.ignore_eos:
        record.expected_tokens = item.output_tokens
    try:
        async with client.stream("POST", target.endpoint, json=body) as response:
            if response.status_code != 200:
                record.error = explain(response.status_code, await response.aread())
                return record
            async for event in events(response):
                _note(record, event)
    except (httpx.HTTPError, ValueError) as error:
        record.error = f"{type(error).__name__}: {error}"
        return record
    if not record.token_times and record.error is None:
        record.error = "the server sent no output"
    return record


def _note(record: Record, event: dict[str, Any]) -> None:
    """Take in one event of the stream."""
    if event.get("error"):
        record.error = str(event["error"].get("message", event["error"]))
        return
    now = time.perf_counter()
    piece = piece_of(event)
    for choice in event.get("choices") or ():
        if choice.get("finish_reason"):
            record.finish_reason, record.end = choice["finish_reason"], now
    if piece is not None or (record.end and not record.token_times):
        record.token_times.append(now)
        record.text += piece or ""
    usage = event.get("usage")
    if usage:
        record.prompt_tokens = usage.get("prompt_tokens") or 0
        record.output_tokens = usage.get("completion_tokens") or 0
        record.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


def explain(status: int, body: bytes) -> str:
    """Return one line for an HTTP error: its status and the message inside an OpenAI error body."""
    text = body.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
        error = parsed.get("error", parsed)
        text = error.get("message", text) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        pass
    return f"HTTP {status}: {' '.join(text.split())[:300]}"
