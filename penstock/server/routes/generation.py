"""``/v1/chat/completions`` and ``/v1/completions``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from penstock.server import service
from penstock.server.answer import answer, answer_id
from penstock.server.asks import chat_ask, completion_asks
from penstock.server.body import reads
from penstock.server.chat_writer import ChatWriter
from penstock.server.completion_writer import CompletionWriter
from penstock.server.described import ADMITTED, answers
from penstock.server.feed import Feed
from penstock.server.schemas.chat import ChatRequest
from penstock.server.schemas.completion import CompletionRequest
from penstock.server.schemas.replies import ChatChunk, ChatCompletion, Completion
from penstock.server.schemas.sampling import GenerationBody

router = APIRouter(tags=["generation"])


@router.post("/v1/chat/completions", summary="Answer a conversation", response_model=None)
@answers(ChatCompletion, events=(ChatChunk,), errors=ADMITTED)
async def chat_completions(
    request: Request, body: Annotated[ChatRequest, Depends(reads(ChatRequest))]
) -> Response:
    """Generate the next turn of a conversation, whole or as server-sent events."""
    to = service.of(request)
    to.check_model(body.model)
    ask = chat_ask(body, request)
    feed = Feed(to, answer_id(to, request, "chatcmpl", body.request_id), [ask])
    writer = ChatWriter(to, feed.id, body, ask.reading)
    return await answer(to, request, feed, writer, stream=bool(body.stream), usage=_wants_usage(body))


@router.post("/v1/completions", summary="Go on with a text", response_model=None)
@answers(Completion, events=(Completion,), errors=ADMITTED)
async def completions(
    request: Request, body: Annotated[CompletionRequest, Depends(reads(CompletionRequest))]
) -> Response:
    """Generate what follows each prompt (text or token ids), whole or as server-sent events."""
    to = service.of(request)
    to.check_model(body.model)
    feed = Feed(to, answer_id(to, request, "cmpl", body.request_id), completion_asks(body, request))
    writer = CompletionWriter(to, feed.id, body)
    return await answer(to, request, feed, writer, stream=bool(body.stream), usage=_wants_usage(body))


def _wants_usage(body: GenerationBody) -> bool:
    return bool(body.stream_options and body.stream_options.include_usage)
