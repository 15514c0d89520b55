"""``/live/state`` and ``/live/events``: what the engine does now, for the page and for scripts."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from penstock.server import service
from penstock.server.connection import EventStream
from penstock.server.described import answers
from penstock.server.routes.models import reply
from penstock.server.schemas.live import LiveState

router = APIRouter(tags=["operations"])


@router.get("/live/state", summary="What the engine does now", response_model=None)
@answers(LiveState)
async def live_state(request: Request) -> Response:
    """Return a `LiveState`: load by tenant, rates, latencies, KV blocks, the newest steps."""
    return reply(await service.of(request).board.state())


@router.get("/live/events", summary="What the engine does, twice a second", response_model=None)
@answers(None, events=(LiveState,), errors=(503,))
async def live_events(request: Request) -> Response:
    """Send a `LiveState` as a server-sent event now and every half second until the client leaves."""
    board = service.of(request).board
    board.join()
    return EventStream(board.events(), cleanup=board.leave)
