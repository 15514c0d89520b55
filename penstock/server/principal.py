"""Who asks. The envelope authenticates and leaves a `Principal` in ``scope["state"]["principal"]``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import HTTPConnection
from starlette.types import Scope

from penstock.server.errors import APIError

Bound = Annotated[int, Meta(ge=1, le=2**53)] | None


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant or a key may use; None leaves it unlimited."""

    requests_per_minute: Bound = None
    """Admitted HTTP requests in any 60 seconds."""
    tokens_per_minute: Bound = None
    """Prompt tokens and tokens that may be generated, of the requests admitted in any 60 seconds."""
    concurrent_requests: Bound = None
    """HTTP requests whose answer is not complete."""
    queued_requests: Bound = None
    """HTTP requests that wait for their first token."""
    max_tokens: Bound = None
    """Most tokens of one answer; what asks for more (or for no number) gets this many."""


NO_LIMITS = Limits()


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The bearer of a key, and what the key entitles to."""

    name: str = ""
    """Name of the key in logs; empty for an open server's clients."""
    tenant: str | None = None
    """Whom fair policies charge; None lets the request's body say."""
    weight: float | None = None
    """The tenant's share under fair policies; None lets the request's body say."""
    priority: int | None = None
    """Most urgent priority that requests may have, and what they have by default (smaller runs first)."""
    admin: bool = False
    """Whether administrative routes, and acting for any tenant, are allowed."""
    private_cache: bool = False
    """Whether cached prefixes are shared within the tenant only."""
    limits: Limits = NO_LIMITS
    """Of the tenant: all its keys draw on the same accounts."""
    key_limits: Limits = NO_LIMITS
    """Of this key alone; they hold beside the tenant's."""


ANONYMOUS = Principal()
"""A client of a server that asks for no key."""


def put_principal(scope: Scope, principal: Principal) -> None:
    """Leave the principal where `principal_of` finds it."""
    scope.setdefault("state", {})["principal"] = principal


def principal_of(request: HTTPConnection) -> Principal:
    """Return who asks; `ANONYMOUS` where nobody authenticated the request."""
    principal: Principal = request.scope.get("state", {}).get("principal", ANONYMOUS)
    return principal


def require_admin(request: HTTPConnection) -> None:
    """Refuse a request that only an administrator may make.

    Raises:
        APIError: 403 that says how to become one.
    """
    if not principal_of(request).admin:
        raise APIError(
            403,
            "This needs an administrator's key: one given as --admin-api-key, or one of the keys file with "
            "admin = true. A server without any key takes it from the machine's own address only.",
            code="admin_required",
        )
