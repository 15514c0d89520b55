"""`create_app`: the ASGI application around a running engine."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from penstock.config.settings import Config
from penstock.frontend.async_engine import AsyncEngine
from penstock.server.envelope import Envelope, path_of
from penstock.server.errors import from_exception
from penstock.server.keystore import KeyStore, key_store
from penstock.server.limits import RATE_HEADERS
from penstock.server.openapi import describe
from penstock.server.responses.store import ResponseStore
from penstock.server.routes import (
    admin,
    embeddings,
    generate,
    generation,
    live,
    messages,
    models,
    operations,
    page,
    responses,
    tokens,
)
from penstock.server.service import build_service

ROUTERS = (
    generation.router,
    generate.router,
    responses.router,
    messages.router,
    embeddings.router,
    models.router,
    tokens.router,
    operations.router,
    admin.router,
    live.router,
    page.router,
)


def create_app(engine: AsyncEngine, config: Config, keys: KeyStore | None = None) -> FastAPI:
    """Return the application; it neither starts nor stops the engine.

    Args:
        engine: a started engine.
        config: the settings that it was started from.
        keys: the keys that are accepted; None takes those of the settings.

    Raises:
        ConfigError: the keys file of the settings cannot be used.
    """
    app = FastAPI(title="Penstock", redirect_slashes=False, docs_url=None, redoc_url=None)
    keys = keys or key_store(config.server)
    service = app.state.service = build_service(engine, config)
    keys.follow(service.metrics.tenants.configure)  # whoever has a key has series of its own
    app.state.responses = ResponseStore(config.server.responses_bytes, config.server.responses_ttl)
    for router in ROUTERS:
        app.include_router(router)
    for refused in (HTTPException, RequestValidationError):  # all others reach the envelope
        app.add_exception_handler(refused, _answer_error)
    app.add_middleware(Envelope, keys=keys, root_path=config.server.root_path)
    if config.server.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.server.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After", *RATE_HEADERS],
        )
    describe(app, ROUTERS)
    return app


async def _answer_error(request: Request, exc: Exception) -> Response:
    return from_exception(exc).response(path_of(request.scope))
