"""Token-level generation: ``/generate`` in SGLang's words, ``/inference/v1/generate`` in vLLM's."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from penstock.server import service
from penstock.server.answer import answer, answer_id
from penstock.server.asks import completion_asks
from penstock.server.body import reads
from penstock.server.described import ADMITTED, answers
from penstock.server.feed import Feed
from penstock.server.native_writer import GenerateWriter, TokensWriter
from penstock.server.schemas.native import GenerateRequest, TokensRequest
from penstock.server.schemas.native_replies import Generated, TokensReply

router = APIRouter(tags=["tokens"])


@router.post("/generate", summary="Go on with text or token ids", response_model=None)
@answers(Generated | list[Generated], events=(Generated,), errors=ADMITTED)
async def generate(
    request: Request, body: Annotated[GenerateRequest, Depends(reads(GenerateRequest))]
) -> Response:
    """Generate, and return text, token ids and figures; a batch of prompts is answered by a list."""
    to = service.of(request)
    to.check_model(body.model)
    asks = [ask for one in body.completions() for ask in completion_asks(one, request)]
    feed = Feed(to, answer_id(to, request, "gen", body.rid or body.request_id), asks)
    writer = GenerateWriter(feed.id, body)
    return await answer(to, request, feed, writer, stream=bool(body.stream), usage=False)


@router.post("/inference/v1/generate", summary="Token ids in, token ids out", response_model=None)
@answers(TokensReply, events=(TokensReply,), errors=ADMITTED)
async def generate_tokens(
    request: Request, body: Annotated[TokensRequest, Depends(reads(TokensRequest))]
) -> Response:
    """Generate from token ids; the reply carries no text."""
    to = service.of(request)
    to.check_model(body.model)
    asks = completion_asks(body.completion(), request)
    feed = Feed(to, answer_id(to, request, "tok", body.request_id), asks)
    options = body.stream_options
    usage = bool(options and options.include_usage)
    return await answer(to, request, feed, TokensWriter(feed.id, body), stream=bool(body.stream), usage=usage)
