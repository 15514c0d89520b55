"""The outermost layer around every request: its id, its key, its error of last resort and its log line.

Plain ASGI on purpose: it must not stand between a stream and its client (buffering, hidden disconnects).
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.server.errors import APIError, from_exception, is_expected
from penstock.server.keystore import KeyStore
from penstock.server.page import assets
from penstock.server.principal import ANONYMOUS, Principal, principal_of, put_principal
from penstock.server.protocol import SURPLUS

logger = logging.getLogger("penstock.server.access")

PROBES = frozenset({"/health", "/live", "/ready", "/metrics", "/version", "/ping"})
"""Answered however full the server is: it must not be taken for dead."""

OPEN_PATHS = PROBES | {"/docs"} | frozenset(assets())
"""Answered without a key: probes and scrapers seldom have one, and nothing of a client's shows there; nor on
the page, which asks its reader for the key that its data need."""

QUIET_PATHS = OPEN_PATHS | {"/load"}
"""Asked every few seconds by machines; logged at debug level only."""

_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")


def add_headers(request: HTTPConnection, headers: Mapping[str, str]) -> None:
    """Put headers on the answer to a request, whatever it will be; only before the answer has begun."""
    request.scope.setdefault("state", {}).setdefault("headers", {}).update(headers)


class Envelope:
    """ASGI middleware that gives each request an id and a principal, and each failure an answer.

    Args:
        app: the application inside.
        keys: the keys that are accepted.
        root_path: under which a proxy serves the application; it may strip it from paths or leave it.
    """

    def __init__(self, app: ASGIApp, keys: KeyStore, root_path: str = "") -> None:
        self._app = app
        self._keys = keys
        self._root_path = root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope; anything but HTTP passes untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._root_path:
            scope["root_path"] = self._root_path
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        began = time.perf_counter()

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                head = MutableHeaders(scope=message)
                for name, value in {**scope["state"].get("headers", {}), "X-Request-Id": request_id}.items():
                    head.setdefault(name, value)
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await refusal.response(path_of(scope))(scope, receive, send_marked)
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
                await error.response(path_of(scope))(scope, receive, send_marked)
        finally:
            self._log(scope, request_id, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope, headers: Headers) -> APIError | None:
        """Return why the request is not let in; None lets it in, with its principal."""
        if scope["state"].get(SURPLUS) and path_of(scope) not in PROBES:
            return _too_many_connections()
        principal = self._authenticate(scope, headers)
        if principal is None:
            return _bad_key(headers)
        put_principal(scope, principal)
        return None

    def _authenticate(self, scope: Scope, headers: Headers) -> Principal | None:
        """Return who asks; None for a key that is missing or not accepted.

        A key that is brought must be good where keys are asked for. An open server ignores keys that it does
        not know: clients send "none" and the like.
        """
        key = _key_of(headers)
        found = self._keys.find(key) if key else None
        if found is not None:
            return found
        if path_of(scope) in OPEN_PATHS or scope["method"] == "OPTIONS":
            return self._keys.anonymous or ANONYMOUS
        return self._keys.anonymous

    @staticmethod
    def _log(scope: Scope, request_id: str, status: int, seconds: float) -> None:
        level = logging.DEBUG if path_of(scope) in QUIET_PATHS else logging.INFO
        if not logger.isEnabledFor(level):
            return
        client = scope.get("client")
        extra = {
            "request_id": request_id,
            "client": client[0] if client else "",
            "seconds": round(seconds, 4),
        }
        who = principal_of(HTTPConnection(scope))
        if who.name:
            extra["key"] = who.name
        if who.tenant is not None:
            extra["tenant"] = who.tenant
        logger.log(level, "%s %s %s", scope["method"], scope["path"], status or "no answer", extra=extra)


def path_of(scope: Scope) -> str:
    """Return the path below the root path, which some proxies strip and others leave."""
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def _request_id(given: str | None) -> str:
    return given if given is not None and _SAFE_ID.fullmatch(given) else uuid.uuid4().hex


def _key_of(headers: Headers) -> str:
    """Return the key that a request brings: a bearer token, or Anthropic's ``x-api-key``."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key", "").strip()


def _too_many_connections() -> APIError:
    return APIError(
        503,
        "The server has as many connections as it takes.",
        code="too_many_connections",
        retry_after=1.0,
        headers={"Connection": "close"},
    )


def _bad_key(headers: Headers) -> APIError:
    what = "is not known here, or has expired" if _key_of(headers) else "is missing"
    return APIError(
        401,
        f"The API key {what}. Send it as 'Authorization: Bearer <key>'.",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )
