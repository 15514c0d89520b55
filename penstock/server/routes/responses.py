"""``/v1/responses``: OpenAI's item-wise form of a conversation."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response as HTTPResponse

from penstock.core.errors import InvalidRequest
from penstock.server import service
from penstock.server.body import reads
from penstock.server.connection import EventStream
from penstock.server.described import ADMITTED, answers
from penstock.server.errors import APIError
from penstock.server.principal import principal_of
from penstock.server.responses.create import create, input_tokens, unconcerned
from penstock.server.responses.store import Record, ResponseStore, owner_of
from penstock.server.routes.models import reply
from penstock.server.schemas.response_events import EVENTS
from penstock.server.schemas.response_reply import Deleted, InputTokens, ItemList, Response
from penstock.server.schemas.responses import ResponsesRequest

router = APIRouter(tags=["responses"])

Body = Annotated[ResponsesRequest, Depends(reads(ResponsesRequest))]


def _found(request: Request, response_id: str) -> tuple[ResponseStore, str, Record]:
    store: ResponseStore = request.app.state.responses
    owner = owner_of(principal_of(request))
    return store, owner, store.get(owner, response_id)


@router.post("/v1/responses", summary="Answer in items", response_model=None)
@answers(Response, events=EVENTS, errors=ADMITTED)
async def create_response(request: Request, body: Body) -> HTTPResponse:
    """Generate the answer to input items, whole, as events, or in the background."""
    to = service.of(request)
    to.check_model(body.model)
    return await create(to, request, body, request.app.state.responses, f"resp_{uuid.uuid4().hex}")


@router.post("/v1/responses/input_tokens", summary="Count an input's tokens", response_model=None)
@answers(InputTokens, errors=(404,))
async def count_input(request: Request, body: Body) -> HTTPResponse:
    """Return how many tokens the prompt of a response would have."""
    to = service.of(request)
    to.check_model(body.model)
    return reply(InputTokens(input_tokens=await input_tokens(to, request, body, request.app.state.responses)))


@router.get("/v1/responses/{response_id}", summary="Read a response", response_model=None)
@answers(Response, events=EVENTS, errors=(400, 404))
async def get_response(
    request: Request,
    response_id: str,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=-1)] = None,
) -> HTTPResponse:
    """Return a stored response, or follow the events of one that was streamed in the background."""
    _, _, record = _found(request, response_id)
    if not stream:
        return reply(record.response)
    if record.run is None or not record.run.frames:
        raise APIError(
            400,
            "Only a response that was created with background and stream can be streamed again.",
            param="stream",
            code="invalid_value",
        )
    start = 0 if starting_after is None else starting_after + 1
    return EventStream(record.run.follow(start), cleanup=unconcerned)


@router.delete("/v1/responses/{response_id}", summary="Forget a response", response_model=None)
@answers(Deleted, errors=(404,))
async def delete_response(request: Request, response_id: str) -> HTTPResponse:
    """Stop the response if it is being generated, and drop it."""
    store, owner, record = _found(request, response_id)
    if record.live and record.run is not None:
        await record.run.cancel()
    store.delete(owner, response_id)
    return reply(Deleted(id=response_id))


@router.post("/v1/responses/{response_id}/cancel", summary="Stop a response", response_model=None)
@answers(Response, errors=(400, 404))
async def cancel_response(request: Request, response_id: str) -> HTTPResponse:
    """Stop a response that is generated in the background; one that has ended stays as it is."""
    store, owner, record = _found(request, response_id)
    if record.run is None:
        raise APIError(
            400,
            "Only a response that was created with background can be cancelled; end others by disconnecting.",
            param="response_id",
            code="invalid_value",
        )
    await record.run.cancel()
    return reply(store.get(owner, response_id).response)


@router.get("/v1/responses/{response_id}/input_items", summary="List a response's input", response_model=None)
@answers(ItemList, errors=(400, 404))
async def list_input(
    request: Request,
    response_id: str,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> HTTPResponse:
    """Return the items that a response was given, those of earlier responses not among them."""
    items = _found(request, response_id)[2].input_items
    items = items if order == "asc" else items[::-1]
    if after is not None:
        places = [index for index, item in enumerate(items) if item["id"] == after]
        if not places:
            raise InvalidRequest("after", f"is no item of this response: {after[:80]!r}")
        items = items[places[0] + 1 :]
    page = items[:limit]
    return reply(
        ItemList(
            data=page,
            first_id=page[0]["id"] if page else None,
            last_id=page[-1]["id"] if page else None,
            has_more=len(items) > len(page),
        )
    )
