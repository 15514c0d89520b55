"""Fields that say how a request is scheduled and accounted, the same for all that runs on the engine."""

from __future__ import annotations

from pydantic import Field

from penstock.server.schemas.base import Body, Name


class TurnFields(Body):
    """A request's place in its program (an extra of ours), read by policies that keep KV between turns."""

    index: int | None = Field(None, ge=0, le=2**31 - 1, description="Turns of the program before this one")
    last: bool | None = Field(None, description="No turn follows, so nothing need be kept for one")
    tool: Name | None = Field(None, description="Tool that will run between this turn's answer and the next")


class SLOFields(Body):
    """Service level objective of the request (an extra of ours), read by deadline-aware policies."""

    ttft_ms: float | None = Field(None, gt=0, le=1e9, description="Time to first token, milliseconds")
    tpot_ms: float | None = Field(None, gt=0, le=1e9, description="Time per output token, milliseconds")
    deadline_ms: float | None = Field(
        None, gt=0, le=1e9, description="Milliseconds after arrival by which the last token must be out"
    )


class SchedulingFields(Body):
    """Whose request it is and how urgent (OpenAI has ``user`` only; the others are extras of ours)."""

    user: str | None = Field(None, max_length=256, description="Caller's id; the tenant when none is given")
    priority: int | None = Field(None, ge=-(2**31), le=2**31 - 1, description="Smaller runs first")
    tenant: Name | None = Field(None, description="Whom fair policies charge")
    weight: float | None = Field(None, ge=1e-6, le=1e6, description="Tenant's share under fair policies")
    program: Name | None = Field(None, description="Id of the multi-turn program that this is a part of")
    turn: TurnFields | None = Field(None, description="Where in its program the request stands")
    slo: SLOFields | None = None
    timeout_ms: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="Abort the request (504) if its last token is not out after so many milliseconds",
    )
    cache_salt: str | None = Field(
        None, min_length=1, max_length=256, description="Cached prefixes are shared only under equal salts"
    )
    request_id: Name | None = Field(None, description="Caller's id of the request; X-Request-Id's twin")
