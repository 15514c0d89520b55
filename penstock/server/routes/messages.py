"""``/v1/messages``: Anthropic's form of a conversation."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from penstock.frontend.answers.reader_set import ReaderSet
from penstock.server import service
from penstock.server.answer import respond
from penstock.server.asks import chat_ask
from penstock.server.body import reads
from penstock.server.counting import prompt_tokens
from penstock.server.described import ADMITTED, answers
from penstock.server.envelope import add_headers
from penstock.server.feed import Feed
from penstock.server.messages.translate import NAMES, chat_of
from penstock.server.messages.writer import MessagesWriter
from penstock.server.naming import named_as
from penstock.server.routes.models import reply
from penstock.server.schemas.message_reply import EVENTS, MessageError, MessageReply, MessageTokens
from penstock.server.schemas.messages import CountRequest, MessagesRequest
from penstock.server.service import Service
from penstock.server.tools import parsers_of

router = APIRouter(tags=["messages"])


@router.post("/v1/messages", summary="Answer in blocks", response_model=None)
@answers(MessageReply, events=EVENTS, errors=ADMITTED, error=MessageError)
async def create_message(
    request: Request, body: Annotated[MessagesRequest, Depends(reads(MessagesRequest))]
) -> Response:
    """Generate the assistant's next message, whole or as events."""
    to = service.of(request)
    to.check_model(body.model)
    add_headers(request, {"request-id": request.state.request_id})  # where the client looks for it
    with named_as(NAMES):
        ask = chat_ask(chat_of(body, _thinks(to)), request)
        feed = Feed(to, f"msg_{uuid.uuid4().hex}", [ask])
        writer = MessagesWriter(feed.id, to.model, ReaderSet(ask.reading, to.engine.tokenizer))

        async def whole() -> bytes:
            async for batch in feed.batches():
                for _, output in batch:
                    for out in output.outputs:
                        writer.push(out)
            return writer.whole(feed.usage())

        return await respond(to, request, feed, writer if body.stream else whole)


@router.post("/v1/messages/count_tokens", summary="Count a conversation's tokens", response_model=None)
@answers(MessageTokens, errors=(404,), error=MessageError)
async def count_tokens(
    request: Request, body: Annotated[CountRequest, Depends(reads(CountRequest))]
) -> Response:
    """Return how many tokens the prompt of a message would have."""
    to = service.of(request)
    to.check_model(body.model)
    with named_as(NAMES):
        ask = chat_ask(chat_of(body, _thinks(to)), request)
        return reply(MessageTokens(await run_in_threadpool(prompt_tokens, to, ask)))


def _thinks(to: Service) -> bool:
    """Say whether the served model's thoughts can be told from its text."""
    return parsers_of(to.config.server, to.engine.tokenizer.template_text).marks is not None
