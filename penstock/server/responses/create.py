"""The way of a new response: earlier turns, chat, engine, events, store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response as HTTPResponse

from penstock.core.errors import InvalidRequest
from penstock.frontend.answers.reader_set import ReaderSet
from penstock.frontend.answers.segments import Segment
from penstock.server.answer import admit, note, respond
from penstock.server.asks import chat_ask
from penstock.server.connection import EventStream
from penstock.server.counting import prompt_tokens
from penstock.server.errors import APIError
from penstock.server.feed import Feed
from penstock.server.naming import named_as
from penstock.server.principal import principal_of
from penstock.server.responses.background import BackgroundRun
from penstock.server.responses.fitting import fitted, room
from penstock.server.responses.items import listed, messages_of
from penstock.server.responses.objects import answered, new_response
from penstock.server.responses.store import ResponseStore, owner_of
from penstock.server.responses.translate import NAMES, chat_of
from penstock.server.responses.writer import ResponsesWriter
from penstock.server.schemas import replies
from penstock.server.schemas.response_reply import Response
from penstock.server.schemas.responses import ResponsesRequest
from penstock.server.service import Service
from penstock.server.turns import Message


async def create(
    to: Service, request: Request, body: ResponsesRequest, store: ResponseStore, response_id: str
) -> HTTPResponse:
    """Answer a body: whole, as events, or at once with the generation behind it.

    Raises:
        PenstockError, APIError: it was refused, or failed before anything was sent.
    """
    keep = body.store is not False and store.keeps
    if body.background and not keep:
        raise InvalidRequest("background", "needs a server that stores responses; this one does not")
    owner = owner_of(principal_of(request))
    messages = _conversation(body, store, owner)
    with named_as(NAMES):
        if body.truncation == "auto":
            messages = await run_in_threadpool(_fit, to, request, body, messages)
        ask = chat_ask(chat_of(body, messages), request)
        feed = Feed(to, response_id, [ask])
        keeper = Keeper(store if keep else None, owner, listed(body.input, response_id[5:]), messages)
        first = new_response(body, response_id, to.model, keep)
        writer = ResponsesWriter(
            first, ReaderSet(ask.reading, to.engine.tokenizer), bool(body.stream), keeper.save
        )
        if body.background:
            return await _in_background(to, request, feed, writer, keeper, stream=bool(body.stream))
        if body.stream:
            return await respond(to, request, feed, writer)

        async def whole() -> bytes:
            async for batch in feed.batches():
                writer.news(batch, feed.usage())
            writer.finish(feed.usage())
            return replies.encode(writer.response)

        return await respond(to, request, feed, whole)


def _conversation(body: ResponsesRequest, store: ResponseStore, owner: str) -> list[Message]:
    """Return the messages up to the answer, those of the earlier responses first."""
    if body.previous_response_id is None:
        return messages_of(body.input)
    try:
        earlier = store.get(owner, body.previous_response_id)
    except APIError as exc:
        raise APIError(
            400, exc.message, param="previous_response_id", code="previous_response_not_found"
        ) from None
    if earlier.response.status not in ("completed", "incomplete"):
        state = earlier.response.status
        raise InvalidRequest("previous_response_id", f"names a response without an answer: it is {state}")
    return messages_of(body.input, earlier.messages)


def _fit(to: Service, request: Request, body: ResponsesRequest, messages: list[Message]) -> list[Message]:
    def count(some: Sequence[Message]) -> int:
        return prompt_tokens(to, chat_ask(chat_of(body, some), request))

    return fitted(messages, room(to.engine.info.max_model_len, body.max_output_tokens), count)


async def _in_background(
    to: Service, request: Request, feed: Feed, writer: ResponsesWriter, keeper: Keeper, *, stream: bool
) -> HTTPResponse:
    await admit(to, request, feed, streaming=stream)
    keeper.run = BackgroundRun(feed, writer, partial(note, request, feed))
    keeper.save(writer.response, [])
    if not stream:
        return HTTPResponse(replies.encode(writer.response), media_type="application/json")
    return EventStream(keeper.run.follow(0), cleanup=unconcerned)


async def unconcerned() -> None:
    """Leave a run alone: it does not end with those who watch it."""


class Keeper:
    """Stores a response: at its end, or from its beginning where it runs in the background.

    Args:
        store: None keeps nothing.
        owner: whose response it is.
        input_items: what is listed of its input.
        messages: the conversation up to its answer.
    """

    def __init__(
        self,
        store: ResponseStore | None,
        owner: str,
        input_items: list[dict[str, Any]],
        messages: list[Message],
    ) -> None:
        self.run: BackgroundRun | None = None
        self._store = store
        self._owner = owner
        self._items = input_items
        self._messages = messages

    def save(self, response: Response, answer: list[Segment]) -> None:
        """Store the response as it stands, where it is to be stored by now."""
        over = response.status not in ("queued", "in_progress")
        if self._store is None or not (over or response.background):
            return
        messages = answered(self._messages, answer) if over else self._messages
        self._store.keep(self._owner, response, self._items, messages, self.run)


async def input_tokens(to: Service, request: Request, body: ResponsesRequest, store: ResponseStore) -> int:
    """Return the length of the prompt that a body would be answered with, in tokens."""
    messages = _conversation(body, store, owner_of(principal_of(request)))
    with named_as(NAMES):
        return await run_in_threadpool(prompt_tokens, to, chat_ask(chat_of(body, messages), request))
