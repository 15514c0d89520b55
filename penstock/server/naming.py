"""Errors about a translated request, told in the names that the client used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import ValidationError

from penstock.core.errors import InvalidRequest
from penstock.server.errors import APIError, from_exception


@contextmanager
def named_as(names: Mapping[str, str]) -> Iterator[None]:
    """Rename the field that an error is about.

    Args:
        names: from chat's field to the client's; the path below it is kept unless the name ends in a dot.

    Raises:
        APIError: the error, renamed where its field has another name.
    """
    try:
        yield
    except (InvalidRequest, ValidationError, APIError) as exc:
        raise _renamed(from_exception(exc), names) from exc


def _renamed(error: APIError, names: Mapping[str, str]) -> APIError:
    param = error.param or ""
    for name, new in names.items():
        rest = param.removeprefix(name)
        if param.startswith(name) and rest[:1] in ("", ".", "["):
            path = new.removesuffix(".") if new.endswith(".") else new + rest
            message = path + error.message.removeprefix(param) if error.message.startswith(param) else ""
            return APIError(
                error.status,
                message or error.message,
                param=path,
                code=error.code,
                retry_after=error.retry_after,
                headers=error.headers,
            )
    return error
