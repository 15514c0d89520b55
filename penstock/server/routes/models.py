"""``/v1/models``: what is served."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from penstock.server import service
from penstock.server.service import Service

router = APIRouter(tags=["models"])


def _card(to: Service) -> dict[str, Any]:
    return {
        "id": to.model,
        "object": "model",
        "created": to.created,
        "owned_by": "penstock",
        "root": to.config.model.model or to.model,
        "parent": None,
        "max_model_len": to.engine.info.max_model_len,
    }


def reply(value: Any, status: int = 200) -> Response:
    """Return a value as a JSON response."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


@router.get("/v1/models", summary="List the models", response_model=None)
async def list_models(request: Request) -> Response:
    """Return the one model that this server runs, in OpenAI's list form."""
    return reply({"object": "list", "data": [_card(service.of(request))]})


@router.get("/v1/models/{model:path}", summary="Describe a model", response_model=None)
async def get_model(request: Request, model: str) -> Response:
    """Return the model's card; 404 for any other name."""
    to = service.of(request)
    to.check_model(model)
    return reply(_card(to))
