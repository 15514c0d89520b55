"""One place where an exception becomes an HTTP answer in OpenAI's error shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from penstock.core.errors import InvalidRequest, Overloaded, PenstockError
from penstock.engine.messages import EngineDead

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    499: "client_closed_request",
    503: "service_unavailable_error",
    504: "timeout_error",
}


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}

ANTHROPIC_PATHS = "/v1/messages"
"""Below this path errors have Anthropic's shape."""

LONGEST = 2000
"""Characters of an error's text: it may quote what the client sent, which may be very long."""


class APIError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        message: one or two sentences fit to be shown to a user.
        param: the request field at fault, if one is.
        code: short machine-readable name of the failure.
        retry_after: seconds after which a retry may succeed.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.headers = headers or {}

    def body(self) -> bytes:
        """Return the JSON text ``{"error": {message, type, param, code}}``."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self._text(), "type": kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})

    def anthropic(self) -> bytes:
        """Return the JSON text ``{"type": "error", "error": {type, message}}``."""
        kind = _ANTHROPIC_TYPES.get(
            self.status, "api_error" if self.status >= 500 else "invalid_request_error"
        )
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": self._text()}})

    def _text(self) -> str:
        return self.message if len(self.message) <= LONGEST else self.message[:LONGEST] + "..."

    def response(self, path: str = "") -> Response:
        """Return the HTTP response, with ``Retry-After`` in whole seconds where known.

        Args:
            path: that was asked; its dialect decides the shape of the body.
        """
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        body = self.anthropic() if path.startswith(ANTHROPIC_PATHS) else self.body()
        return Response(body, self.status, headers, media_type="application/json")


def is_expected(exc: BaseException) -> bool:
    """Say whether an exception is one that we raise on purpose; any other is a bug, worth its traceback."""
    return isinstance(
        exc, APIError | PenstockError | ValidationError | RequestValidationError | HTTPException
    )


def from_exception(exc: BaseException) -> APIError:
    """Translate any exception; what is not expected becomes a 500 that says nothing of the inside."""
    if isinstance(exc, APIError):
        return exc
    if isinstance(exc, InvalidRequest):
        return invalid_request(exc)
    if isinstance(exc, Overloaded):
        return APIError(503, exc.reason, code="overloaded", retry_after=exc.retry_after or 1.0)
    if isinstance(exc, ValidationError):
        return from_validation(exc)
    if isinstance(exc, HTTPException):
        return _from_http(exc)
    if isinstance(exc, RequestValidationError):
        return _from_parameters(exc)
    if isinstance(exc, EngineDead):
        return APIError(503, str(exc), code="engine_dead", retry_after=10.0)
    if isinstance(exc, PenstockError):
        return APIError(500, str(exc), code="engine_error")
    return APIError(500, "The server failed on this request; its log has the cause.", code="internal_error")


def invalid_request(exc: InvalidRequest) -> APIError:
    """Return the 400 of a request that the frontend or the engine refused."""
    field = exc.field.removeprefix("sampling.")
    too_long = field in {"prompt", "messages", "max_tokens"} and "context" in exc.message
    return APIError(
        400, str(exc), param=field or None, code="context_length_exceeded" if too_long else "invalid_value"
    )


def _from_http(exc: HTTPException) -> APIError:
    codes = {404: "not_found", 405: "method_not_allowed"}
    texts = {404: "There is no such route.", 405: "This route does not take that method."}
    message = texts.get(exc.status_code, str(exc.detail))
    return APIError(
        exc.status_code, message, code=codes.get(exc.status_code), headers=dict(exc.headers or {})
    )


def _from_parameters(exc: RequestValidationError) -> APIError:
    """Return the 400 of a path or query parameter that the framework refused."""
    first = exc.errors()[0]
    param = field_path(first["loc"][1:])
    return APIError(400, f"{param}: {first['msg']}", param=param, code=_code(first["type"]))


_UNION_TAGS = frozenset({"str", "int", "float", "bool", "none"})


def from_validation(exc: ValidationError) -> APIError:
    """Return the 400 that names the first field at fault and says what was expected of it."""
    errors = exc.errors(include_url=False, include_context=False, include_input=False)
    first = errors[0]
    if first["type"] == "json_invalid":
        text = first["msg"].removeprefix("Invalid JSON: ")
        return APIError(400, f"The request body is not valid JSON: {text}.", code="invalid_json")
    paths = [field_path(error["loc"]) for error in errors]
    # A union reports the failure of each member; the one that matched furthest tells most.
    field = paths[0].split(".")[0].split("[")[0]
    mine = [index for index, path in enumerate(paths) if path.startswith(field)]
    param = paths[max(mine, key=lambda index: _progress(errors[index]["loc"]))]
    same = [error for error, path in zip(errors, paths, strict=True) if path == param]
    message = " or ".join(dict.fromkeys(error["msg"].removeprefix("Value error, ") for error in same))
    return APIError(
        400, f"{param}: {message}" if param else message, param=param or None, code=_code(same[0]["type"])
    )


def _code(kind: str) -> str:
    if kind == "missing":
        return "missing_required_parameter"
    return "invalid_type" if kind.endswith("_type") else "invalid_value"


def _progress(loc: Sequence[Any]) -> tuple[int, list[int]]:
    steps = [part for part in loc if isinstance(part, int) or not _is_union_tag(part)]
    return len(steps), [part for part in steps if isinstance(part, int)]


def field_path(loc: Sequence[Any]) -> str:
    """Return ``messages[0].role`` for a pydantic location, without the names of union members."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _is_union_tag(part):
            continue
        else:
            path += f".{part}" if path else str(part)
    return path


def _is_union_tag(part: str) -> bool:
    return part in _UNION_TAGS or "[" in part or part[:1].isupper()
