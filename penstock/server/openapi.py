"""Puts the request bodies, which routes parse themselves, into the OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from penstock.server.body import READS_JSON
from penstock.server.service import package_version

_REF = "#/components/schemas/{model}"


def describe(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Replace the application's description by one that knows the bodies; built when first asked for.

    Args:
        app: whose description it is.
        routers: those that it includes, without a prefix.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, routers)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build(app: FastAPI, routers: Sequence[APIRouter]) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=package_version(), routes=app.routes)
    bodies = list(_bodies(routers))
    named, definitions = TypeAdapter.json_schemas(
        [(path, "validation", adapter) for path, adapter in bodies], ref_template=_REF
    )
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    components.update(definitions.get("$defs", {}))
    for path, _ in bodies:
        content = {"application/json": {"schema": named[(path, "validation")]}}
        schema["paths"][path]["post"]["requestBody"] = {"required": True, "content": content}
    return schema


def _bodies(routers: Sequence[APIRouter]) -> Iterator[tuple[str, TypeAdapter[Any]]]:
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute):
            for dependency in route.dependant.dependencies:
                adapter = getattr(dependency.call, READS_JSON, None)
                if adapter is not None:
                    yield route.path, adapter
