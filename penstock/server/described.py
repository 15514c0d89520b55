"""What a route says about its answers; `penstock.server.openapi` makes the description of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from penstock.server.schemas.facts import ErrorReply

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

ADMITTED = (404, 429, 499, 500, 503, 504)
"""What may be answered, besides what a body may be refused with, where an engine is asked to generate:
no such model, a limit reached, an abort, a failure, overload or shutdown, a deadline that passed."""

_MARK = "__penstock_answers__"


class Answers(Struct, frozen=True):
    """The answers of one route. Types are msgspec structs, or whatever msgspec has a JSON schema for."""

    reply: Any = None
    """What a 200 carries; None where there is no whole reply."""
    media: str = "application/json"
    """Its content type."""
    events: tuple[Any, ...] = ()
    """What a ``data:`` of a stream may carry, besides an error and ``[DONE]``; empty: no stream."""
    errors: tuple[int, ...] = ()
    """Statuses besides those that every route, or every body, may be answered with."""
    error: Any = ErrorReply
    """The body of errors."""
    also: Mapping[int, Any] = {}
    """Statuses whose body is none of the two, each with its type."""


def answers(reply: Any = None, **more: Any) -> Callable[[Endpoint], Endpoint]:
    """Return a decorator, to be put below the router's, that notes a route's `Answers`."""
    noted = Answers(reply, **more)

    def note(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, noted)
        return endpoint

    return note


def answers_of(endpoint: Callable[..., Any]) -> Answers | None:
    """Return what was noted for an endpoint; None if nothing was."""
    found: Answers | None = getattr(endpoint, _MARK, None)
    return found
