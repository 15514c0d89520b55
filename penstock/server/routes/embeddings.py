"""``/v1/embeddings``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from penstock.core.errors import InvalidRequest
from penstock.server import service
from penstock.server.answer import answer, answer_id
from penstock.server.asks import embedding_asks
from penstock.server.body import reads
from penstock.server.described import ADMITTED, answers
from penstock.server.embedding_writer import EmbeddingWriter
from penstock.server.feed import Feed
from penstock.server.schemas.embeddings import EmbeddingList, EmbeddingRequest

router = APIRouter(tags=["embeddings"])


@router.post("/v1/embeddings", summary="Turn texts into vectors", response_model=None)
@answers(EmbeddingList, errors=ADMITTED)
async def embeddings(
    request: Request, body: Annotated[EmbeddingRequest, Depends(reads(EmbeddingRequest))]
) -> Response:
    """Return one vector per input: the served model's final hidden states, pooled over the input's tokens."""
    to = service.of(request)
    to.check_model(body.model)
    width = to.engine.info.embedding_size
    if not width:
        raise InvalidRequest("model", "this engine makes no embeddings")
    if body.dimensions is not None and body.dimensions > width:
        raise InvalidRequest("dimensions", f"expected at most {width}, the model's, got {body.dimensions}")
    feed = Feed(to, answer_id(to, request, "embd", body.request_id), embedding_asks(body, request))
    try:
        return await answer(to, request, feed, EmbeddingWriter(to, body), stream=False, usage=False)
    except InvalidRequest as exc:
        if not exc.field.startswith("prompt"):
            raise
        raise InvalidRequest("input" + exc.field.removeprefix("prompt"), exc.message) from None
