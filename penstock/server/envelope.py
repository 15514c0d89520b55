"""The outermost layer around every request: its id, its key, its error of last resort and its log line.

Plain ASGI on purpose: it must not stand between a stream and its client (buffering, hidden disconnects).
"""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.server.errors import APIError, from_exception, is_expected
from penstock.server.page import assets

logger = logging.getLogger("penstock.server.access")

OPEN_PATHS = frozenset({"/health", "/live", "/ready", "/metrics", "/version", "/ping", *assets()})
"""Answered without a key: probes and scrapers seldom have one, and nothing of a client's shows there; nor on
the page, which asks its reader for the key that its data need."""

QUIET_PATHS = OPEN_PATHS | {"/load"}
"""Asked every few seconds by machines; logged at debug level only."""

_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Envelope:
    """ASGI middleware that gives each request an id and each failure an answer.

    Args:
        app: the application inside.
        api_keys: bearer keys that are accepted; empty leaves the server open.
    """

    def __init__(self, app: ASGIApp, api_keys: Sequence[str] = ()) -> None:
        self._app = app
        self._keys = tuple(key.encode() for key in api_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope; anything but HTTP passes untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        began = time.perf_counter()

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).setdefault("X-Request-Id", request_id)
            await send(message)

        try:
            if not self._allowed(scope, headers):
                await _refuse_key(headers)(scope, receive, send_marked)
            else:
                await self._app(scope, receive, send_marked)
        except Exception as exc:
            error = from_exception(exc)
            if error.status >= 500:
                bug = None if is_expected(exc) else exc
                logger.error(
                    "request failed: %s", error.message, exc_info=bug, extra={"request_id": request_id}
                )
            if status == 0:
                await error.response()(scope, receive, send_marked)
        finally:
            self._log(scope, request_id, status, time.perf_counter() - began)

    def _allowed(self, scope: Scope, headers: Headers) -> bool:
        if not self._keys or scope["path"] in OPEN_PATHS or scope["method"] == "OPTIONS":
            return True
        given = headers.get("authorization", "")
        scheme, _, key = given.partition(" ")
        if scheme.lower() != "bearer":
            return False
        # All keys are compared, each in constant time: timing must not tell how much of a key was right.
        matches = [hmac.compare_digest(key.strip().encode("utf-8", "replace"), known) for known in self._keys]
        return any(matches)

    @staticmethod
    def _log(scope: Scope, request_id: str, status: int, seconds: float) -> None:
        level = logging.DEBUG if scope["path"] in QUIET_PATHS else logging.INFO
        if not logger.isEnabledFor(level):
            return
        client = scope.get("client")
        logger.log(
            level,
            "%s %s %s",
            scope["method"],
            scope["path"],
            status or "no answer",
            extra={
                "request_id": request_id,
                "client": client[0] if client else "",
                "seconds": round(seconds, 4),
            },
        )


def _request_id(given: str | None) -> str:
    return given if given is not None and _SAFE_ID.fullmatch(given) else uuid.uuid4().hex


def _refuse_key(headers: Headers) -> ASGIApp:
    what = "is not known here" if "authorization" in headers else "is missing"
    return APIError(
        401,
        f"The API key {what}. Send it as 'Authorization: Bearer <key>'.",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    ).response()
