"""From bytes on the wire to a validated request model: bounded in size, depth and cost of refusal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect

from penstock.server.errors import APIError

T = TypeVar("T")

READS_JSON = "x-reads-json"
"""Marks a dependency with the type it parses; `penstock.server.openapi` finds it there."""


async def read_body(request: Request) -> bytes:
    """Return the whole body.

    Raises:
        APIError: 413 as soon as it is known to be larger than ``server.max_body_bytes``, 400 when the
            client went away in the middle.
    """
    limit: int = request.app.state.service.config.server.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    except ClientDisconnect:
        raise APIError(499, "The client went away before its request was complete.") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> APIError:
    return APIError(
        413,
        f"The request body is larger than the server takes ({limit} bytes).",
        code="request_too_large",
        headers={"Connection": "close"},
    )


def parse(adapter: TypeAdapter[T], body: bytes) -> T:
    """Validate a body without building it as Python objects first.

    Raises:
        APIError: 400 for an empty body, bad UTF-8, bad JSON or JSON nested deeper than the parser goes.
        pydantic.ValidationError: some field is wrong.
        InvalidRequest: the fields contradict each other.
    """
    if not body.strip():
        raise APIError(400, "The request body is empty; a JSON object was expected.", code="invalid_json")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise APIError(
            400, f"The request body is not valid UTF-8 (byte {exc.start}).", code="invalid_utf8"
        ) from None
    return adapter.validate_json(body)


def reads(model: Any) -> Callable[[Request], Awaitable[Any]]:
    """Return a dependency that parses the body as ``model``, whatever the content type claims."""
    adapter: TypeAdapter[Any] = TypeAdapter(model)

    async def dependency(request: Request) -> Any:
        return parse(adapter, await read_body(request))

    setattr(dependency, READS_JSON, adapter)
    return dependency
