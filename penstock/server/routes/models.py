"""``/v1/models``, ``/model_info`` and ``/server_info``: what is served, and how."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from penstock.server import service
from penstock.server.described import answers
from penstock.server.schemas.facts import HealthReply, ModelCard, ModelInfo, ModelList, ServerInfo
from penstock.server.service import Service, package_version

router = APIRouter(tags=["models"])

TOLD = ("model", "cache", "schedule")
"""Sections of the settings that clients may see; keys and files of the server are nobody's business."""


def _card(to: Service) -> ModelCard:
    return ModelCard(
        id=to.model,
        created=to.created,
        owned_by="penstock",
        root=to.config.model.model or to.model,
        max_model_len=to.engine.info.max_model_len,
    )


def reply(value: Any, status: int = 200) -> Response:
    """Return a value as a JSON response."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def health_of(to: Service) -> HealthReply:
    """Return the engine's state as probes see it."""
    health = to.engine.health()
    return HealthReply(
        status=health.state, restarts=health.restarts, model=to.model, cause=health.cause or msgspec.UNSET
    )


@router.get("/v1/models", summary="List the models", response_model=None)
@answers(ModelList)
async def list_models(request: Request) -> Response:
    """Return the one model that this server runs, in OpenAI's list form."""
    return reply(ModelList(data=[_card(service.of(request))]))


@router.get("/v1/models/{model:path}", summary="Describe a model", response_model=None)
@answers(ModelCard, errors=(404,))
async def get_model(request: Request, model: str) -> Response:
    """Return the model's card; 404 for any other name."""
    to = service.of(request)
    to.check_model(model)
    return reply(_card(to))


def _model_info(to: Service) -> ModelInfo:
    model, info = to.config.model, to.engine.info
    root = model.model or to.model
    return ModelInfo(
        model_path=root,
        tokenizer_path=model.tokenizer or root,
        served_model_name=to.model,
        is_generation=True,
        max_model_len=info.max_model_len,
        vocab_size=info.vocab_size,
    )


@router.get("/get_model_info", include_in_schema=False, response_model=None)
@router.get("/model_info", summary="What a router must know of the model", response_model=None)
@answers(ModelInfo)
async def model_info(request: Request) -> Response:
    """Return the model's names and sizes."""
    return reply(_model_info(service.of(request)))


@router.get("/get_server_info", include_in_schema=False, response_model=None)
@router.get("/server_info", summary="How the server runs", response_model=None)
@answers(ServerInfo)
async def server_info(request: Request) -> Response:
    """Return settings, the memory plan, and what was resolved at start."""
    to = service.of(request)
    settings: dict[str, dict[str, Any]] = {
        name: msgspec.to_builtins(getattr(to.config, name)) for name in TOLD
    }
    return reply(
        ServerInfo(
            version=package_version(),
            model=_model_info(to),
            settings=settings,
            memory_plan=list(to.engine.info.plan),
            decisions=list(to.engine.info.decisions),
            state=health_of(to),
        )
    )
