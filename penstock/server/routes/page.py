"""``/``: the page with a playground and a live view of the engine, and its files."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from penstock.server import reference
from penstock.server.page import assets

router = APIRouter(include_in_schema=False)

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
"""Scripts and styles come from the page's own files alone, and no script may turn text into markup: what a
model writes cannot become code. Browsers keep the files and ask by ETag whether they changed."""


DOCS_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}
"""The reference has its few styles in it, and no script at all."""


@router.get("/docs", response_model=None)
async def docs(request: Request) -> Response:
    """Return the description of the API as a page."""
    html = reference.page(request.app.openapi())
    return Response(html, headers=DOCS_HEADERS, media_type="text/html; charset=utf-8")


@router.get("/", response_model=None)
@router.head("/", response_model=None)
@router.get("/page/{name}", response_model=None)
@router.head("/page/{name}", response_model=None)
async def page(request: Request) -> Response:
    """Return the page or one of its files; 304 where the browser has it already."""
    asset = assets().get(request.url.path)
    if asset is None:
        raise HTTPException(404)
    headers = {**HEADERS, "ETag": asset.etag}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)
