"""Probes, metrics and figures for operators and routers."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from penstock.core.errors import PenstockError
from penstock.core.output import EngineStats
from penstock.engine.observation import Observation
from penstock.server import service
from penstock.server.described import answers
from penstock.server.routes.models import health_of, reply
from penstock.server.schemas.facts import Alive, HealthReply, LoadReply, Version
from penstock.server.service import Service, package_version

router = APIRouter(tags=["operations"])

SCRAPE_PATIENCE = 5.0
"""Seconds that a scrape waits for the engine; Prometheus gives up after 10."""


def _state(to: Service, healthy: frozenset[str]) -> Response:
    health = health_of(to)
    fine = health.status in healthy
    answer = reply(health, 200 if fine else 503)
    if not fine and health.status not in ("dead", "closed"):
        answer.headers["Retry-After"] = "1"
    return answer


@router.get("/live", summary="Is the process alive", response_model=None)
@answers(Alive)
async def live() -> Response:
    """Return 200 as long as the server answers at all."""
    return reply(Alive())


@router.get("/health", summary="Does the engine work", response_model=None)
@answers(HealthReply, also={503: HealthReply})
async def health(request: Request) -> Response:
    """Return 200 while the engine runs (also while it drains), 503 with the cause otherwise."""
    return _state(service.of(request), frozenset({"ready", "draining"}))


@router.get("/ready", summary="Should traffic be sent here", response_model=None)
@answers(HealthReply, also={503: HealthReply})
async def ready(request: Request) -> Response:
    """Return 200 while new requests are admitted, 503 while starting, draining, restarting or dead."""
    return _state(service.of(request), frozenset({"ready"}))


@router.get("/ping", include_in_schema=False, response_model=None)
async def ping(request: Request) -> Response:
    """Answer like ``/health``."""
    return _state(service.of(request), frozenset({"ready", "draining"}))


async def _stats(to: Service) -> EngineStats | None:
    try:
        return await to.engine.stats()
    except PenstockError:  # dead or restarting: the figures of the front are still worth having
        return None


async def _seen(to: Service) -> Observation | None:
    """Look at the engine; one that is busy with a long step must not cost the scrape all other figures."""
    try:
        return await asyncio.wait_for(to.engine.observe(), SCRAPE_PATIENCE)
    except (PenstockError, TimeoutError):
        return None


@router.get("/metrics", summary="Prometheus metrics", response_model=None)
@answers(str, media="text/plain")
async def metrics(request: Request) -> Response:
    """Return the exposition text."""
    to = service.of(request)
    health = to.engine.health()
    # In a thread: dozens of tenants make thousands of series, and streams must not stall for a scrape.
    text = await asyncio.to_thread(to.metrics.render, await _seen(to), health.state, health.restarts)
    return Response(text, media_type=to.metrics.content_type)


@router.get("/version", summary="Version", response_model=None)
@answers(Version)
async def version() -> Response:
    """Return the version of the server."""
    return reply(Version(package_version()))


@router.get("/load", summary="Load of this server", response_model=None)
@answers(LoadReply)
async def load(request: Request) -> Response:
    """Return how busy the server is, cheap enough for a router to ask often."""
    to = service.of(request)
    stats = await _stats(to)
    if stats is None:
        return reply(LoadReply(server_load=to.engine.live()))
    free = stats.blocks_free + stats.blocks_reclaimable
    return reply(
        LoadReply(
            server_load=to.engine.live(),
            running=stats.running,
            waiting=stats.waiting,
            kv_cache_usage=1 - free / stats.blocks_total if stats.blocks_total else 0.0,
        )
    )
