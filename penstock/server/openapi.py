"""The OpenAPI description: bodies that routes parse themselves, and answers that they write themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from penstock.server.body import READS_JSON
from penstock.server.described import Answers, answers_of
from penstock.server.envelope import OPEN_PATHS
from penstock.server.service import package_version

_REF = "#/components/schemas/{name}"
_BODY_ERRORS = (400, 408, 413)
_KEY_ERRORS = (401, 403)
_UNNAMED = {499: "Client Closed Request"}
_WAITS = (429, 503)
_JSON = "application/json"

Json = dict[str, Any]


def describe(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Replace the application's description by a true one; built when first asked for.

    Args:
        app: whose description it is.
        routers: those that it includes, without a prefix.
    """

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, routers)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build(app: FastAPI, routers: Sequence[APIRouter]) -> Json:
    schema = get_openapi(title=app.title, version=package_version(), routes=app.routes)
    routes = list(_routes(routers))
    bodies, components = _body_schemas(routes)
    found = [answers_of(route.endpoint) or Answers() for route in routes]
    types = list(dict.fromkeys(kind for one in found for kind in _types(one)))
    replies, definitions = _reply_schemas(types, components)
    known = dict(zip(types, replies, strict=True))
    for route, one in zip(routes, found, strict=True):
        body = bodies.get(route.path)
        for method in route.methods or ():
            operation = schema["paths"][route.path_format][method.lower()]
            if body is not None:
                operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": body}}}
            keyed = route.path not in OPEN_PATHS
            errors = {
                500,
                *one.errors,
                *(_BODY_ERRORS if body is not None else ()),
                *((400,) if "parameters" in operation else ()),
                *(_KEY_ERRORS if keyed else ()),
            }
            operation["responses"] = _responses(one, known, errors)
            operation["security"] = [{}, {"bearer": []}] if keyed else [{}]
    schema["components"] = {
        "schemas": {**components, **definitions},
        "securitySchemes": {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "Needed where the server was started with keys.",
            }
        },
    }
    return schema


def _routes(routers: Sequence[APIRouter]) -> Iterator[APIRoute]:
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield route


def _body_schemas(routes: Sequence[APIRoute]) -> tuple[dict[str, Json], Json]:
    """Return the schema of each path's body, and the components that they refer to."""
    adapters: list[tuple[str, TypeAdapter[Any]]] = []
    for route in routes:
        for dependency in route.dependant.dependencies:
            adapter = getattr(dependency.call, READS_JSON, None)
            if adapter is not None:
                adapters.append((route.path, adapter))
    named, definitions = TypeAdapter.json_schemas(
        [(path, "validation", adapter) for path, adapter in adapters],
        ref_template=_REF.replace("{name}", "{model}"),
    )
    return {path: named[(path, "validation")] for path, _ in adapters}, definitions.get("$defs", {})


def _types(one: Answers) -> list[Any]:
    whole = () if one.reply is None else (one.reply,)
    return [*whole, *one.events, one.error, *one.also.values()]


def _reply_schemas(types: Sequence[Any], taken: Json) -> tuple[tuple[Json, ...], Json]:
    """Return a schema per type, and their components under names that no body has."""
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    renamed = {
        _REF.format(name=name): _REF.format(name=f"{name}Reply") for name in components if name in taken
    }
    names = {name: f"{name}Reply" if name in taken else name for name in components}
    return _point(schemas, renamed), {names[name]: _point(one, renamed) for name, one in components.items()}


def _point(schema: Any, renamed: dict[str, str]) -> Any:
    """Return a schema with its references renamed."""
    if isinstance(schema, dict):
        return {
            key: renamed.get(value, value) if key == "$ref" else _point(value, renamed)
            for key, value in schema.items()
        }
    if isinstance(schema, list | tuple):
        return type(schema)(_point(one, renamed) for one in schema)
    return schema


def _responses(one: Answers, known: dict[Any, Json], errors: set[int]) -> Json:
    content: Json = {}
    if one.reply is not None:
        content[one.media] = {"schema": known[one.reply]}
    if one.events:
        # OpenAPI 3.1 has no word for what the events of a stream carry; 3.2 calls it itemSchema.
        kinds = {"anyOf": [known[kind] for kind in (*one.events, one.error)]}
        content["text/event-stream"] = {"schema": {"type": "string"}, "x-event-schema": kinds}
    found: Json = {"200": {"description": "OK", "headers": _headers(200), "content": content}}
    for status in errors:
        found[str(status)] = _answer(status, known[one.error])
    for status, kind in one.also.items():
        found[str(status)] = _answer(status, known[kind])
    return dict(sorted(found.items()))


def _answer(status: int, schema: Json) -> Json:
    return {
        "description": _UNNAMED.get(status) or HTTPStatus(status).phrase,
        "headers": _headers(status),
        "content": {_JSON: {"schema": schema}},
    }


def _headers(status: int) -> Json:
    headers: Json = {
        "X-Request-Id": {"description": "Names the request in logs.", "schema": {"type": "string"}}
    }
    if status in _WAITS:
        headers["Retry-After"] = {
            "description": "Seconds after which a retry may succeed.",
            "schema": {"type": "integer", "minimum": 1},
        }
    return headers
