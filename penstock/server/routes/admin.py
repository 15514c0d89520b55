"""Ending requests from outside and forgetting cached prefixes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from penstock.server import service
from penstock.server.body import reads
from penstock.server.described import answers
from penstock.server.errors import APIError
from penstock.server.principal import Principal, principal_of, require_admin
from penstock.server.routes.models import reply
from penstock.server.schemas.admin import Aborted, AbortRequest, CacheReset, ProfileStarted, ProfileStopped
from penstock.server.service import Service

router = APIRouter(tags=["administration"])

Abort = Annotated[AbortRequest, Depends(reads(AbortRequest))]


@router.post("/abort", summary="End requests", response_model=None)
@answers(Aborted)
async def abort(request: Request, body: Abort) -> Response:
    """End requests by id, or all: those of the key's own tenant, an administrator's key anybody's.

    Ids are those of answers (``chatcmpl-...``) or those that the caller gave (``X-Request-Id``,
    ``request_id``). Ids of nothing that runs are passed over. The ended requests' clients get status 499,
    which no client library takes for a reason to try again.
    """
    to, who = service.of(request), principal_of(request)
    if body.everything() and not who.name:
        require_admin(request)  # nobody in particular speaks for all the others that are nobody
    ended = []
    for answer_id in _matches(to, body):
        live = to.live[answer_id]
        if may_end(who, live.principal):
            text = "The request was ended by a call of /abort."
            live.stop("client", APIError(499, text, code="aborted"))
            ended.append(answer_id)
    return reply(Aborted(ended))


@router.post("/abort_requests", include_in_schema=False, response_model=None)
async def abort_requests(request: Request, body: Abort) -> Response:
    """Answer like ``/abort``, under vLLM's name."""
    return await abort(request, body)


@router.post("/abort_request", include_in_schema=False, response_model=None)
async def abort_request(request: Request, body: Abort) -> Response:
    """Answer like ``/abort``, under SGLang's name."""
    return await abort(request, body)


def may_end(who: Principal, whose: Principal) -> bool:
    """Say whether one may end another's request: an administrator any, others those of their tenant."""
    if who.admin:
        return True
    if who.tenant is not None or whose.tenant is not None:
        return who.tenant == whose.tenant
    return who.name == whose.name


def _matches(to: Service, body: AbortRequest) -> list[str]:
    if body.everything():
        return list(to.live)
    wanted = body.ids()
    return [answer_id for answer_id in to.live if not wanted.isdisjoint(_names(answer_id))]


def _names(answer_id: str) -> tuple[str, ...]:
    """Return what an answer may be called: its id, and the caller's id that it was made of."""
    given = answer_id.partition("-")[2]
    plain, dot, copies = given.rpartition(".")  # a repeated id has a number behind it
    return (answer_id, given, plain) if dot and copies.isdigit() else (answer_id, given)


@router.post("/reset_prefix_cache", summary="Forget cached prefixes", response_model=None)
@answers(CacheReset, errors=(409, 503))
async def reset_prefix_cache(request: Request) -> Response:
    """Drop every cached prefix. Needs an administrator; 409 while running requests use some of them."""
    require_admin(request)
    if not await service.of(request).engine.reset_prefix_cache():
        raise APIError(409, "Running requests use cached prefixes.", code="cache_in_use", retry_after=1.0)
    return reply(CacheReset(True))


@router.api_route("/flush_cache", methods=["GET", "POST"], include_in_schema=False, response_model=None)
async def flush_cache(request: Request) -> Response:
    """Answer like ``/reset_prefix_cache``, under SGLang's name."""
    return await reset_prefix_cache(request)


@router.post("/start_profile", summary="Record the engine's steps", response_model=None)
@answers(ProfileStarted, errors=(409, 503))
async def start_profile(request: Request) -> Response:
    """Begin a profile of the engine's steps, by torch's profiler. Needs an administrator.

    Steps are slower while it is made, and it ends by itself after ``--profile-seconds``; 409 while one is
    being made, and on a server without a ``--profile-folder``.
    """
    require_admin(request)
    if not await _profiled(request).engine.start_profile():
        raise APIError(409, "A profile is being made already.", code="profile_running")
    return reply(ProfileStarted(True))


@router.post("/stop_profile", summary="Write the recorded steps", response_model=None)
@answers(ProfileStopped, errors=(409, 503))
async def stop_profile(request: Request) -> Response:
    """End the profile and write it to ``--profile-folder``, for Perfetto. Needs an administrator.

    The engine's steps wait while it is written; 409 when none is being made.
    """
    require_admin(request)
    path = await _profiled(request).engine.stop_profile()
    if not path:
        raise APIError(409, "No profile was being made; the log says if one ended.", code="no_profile")
    return reply(ProfileStopped(path))


def _profiled(request: Request) -> Service:
    to = service.of(request)
    if not to.config.observe.profile_folder:
        raise APIError(409, "Profiles need a server with a --profile-folder.", code="profile_off")
    return to
