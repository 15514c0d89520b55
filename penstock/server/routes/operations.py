"""Probes, metrics and figures for operators and routers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from penstock.core.errors import PenstockError
from penstock.core.output import EngineStats
from penstock.server import service
from penstock.server.routes.models import reply
from penstock.server.service import Service, package_version

router = APIRouter(tags=["operations"])


def _state(to: Service, healthy: frozenset[str]) -> Response:
    health = to.engine.health()
    body = {"status": health.state, "restarts": health.restarts, "model": to.model}
    if health.cause:
        body["cause"] = health.cause
    fine = health.state in healthy
    answer = reply(body, 200 if fine else 503)
    if not fine and health.state not in ("dead", "closed"):
        answer.headers["Retry-After"] = "1"
    return answer


@router.get("/live", summary="Is the process alive", response_model=None)
async def live() -> Response:
    """Return 200 as long as the server answers at all."""
    return reply({"status": "alive"})


@router.get("/health", summary="Does the engine work", response_model=None)
async def health(request: Request) -> Response:
    """Return 200 while the engine runs (also while it drains), 503 with the cause otherwise."""
    return _state(service.of(request), frozenset({"ready", "draining"}))


@router.get("/ready", summary="Should traffic be sent here", response_model=None)
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


@router.get("/metrics", summary="Prometheus metrics", response_model=None)
async def metrics(request: Request) -> Response:
    """Return the exposition text."""
    to = service.of(request)
    return Response(to.metrics.render(await _stats(to)), media_type=to.metrics.content_type)


@router.get("/version", summary="Version", response_model=None)
async def version() -> Response:
    """Return the version of the server."""
    return reply({"version": package_version()})


@router.get("/load", summary="Load of this server", response_model=None)
async def load(request: Request) -> Response:
    """Return how busy the server is, cheap enough for a router to ask often."""
    to = service.of(request)
    stats = await _stats(to)
    body: dict[str, float] = {"server_load": to.engine.live()}
    if stats is not None:
        free = stats.blocks_free + stats.blocks_reclaimable
        body["running"] = stats.running
        body["waiting"] = stats.waiting
        body["kv_cache_usage"] = 1 - free / stats.blocks_total if stats.blocks_total else 0.0
    return reply(body)
