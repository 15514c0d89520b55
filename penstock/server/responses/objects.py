"""Parts of a response object: its beginning, its items, its token counts."""

from __future__ import annotations

import time
from typing import Any

from penstock.frontend.answers.segments import Segment
from penstock.frontend.outputs import Usage
from penstock.server.schemas.response_reply import (
    FunctionCall,
    InputDetails,
    ItemStatus,
    OutputDetails,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningOutput,
    ReasoningText,
    Response,
    ResponseUsage,
)
from penstock.server.schemas.responses import ResponsesRequest
from penstock.server.turns import Message, Turns
from penstock.server.writing import scored

_PREFIX = {"text": "msg", "reasoning": "rs", "call": "fc"}


def new_response(body: ResponsesRequest, response_id: str, model: str, store: bool) -> Response:
    """Return the response to a body before its first news.

    Args:
        body: what was asked.
        response_id: ``resp_...``.
        model: served name.
        store: whether it will be kept.
    """
    reasoning, form = body.reasoning, body.text.format if body.text else None
    text: dict[str, Any] = {"format": {"type": "text"}}
    if form is not None:
        text["format"] = form.model_dump(by_alias=True, exclude_none=True)
    if body.text is not None and body.text.verbosity is not None:
        text["verbosity"] = body.text.verbosity
    choice = body.tool_choice or "auto"
    return Response(
        id=response_id,
        created_at=int(time.time()),
        status="in_progress",
        background=bool(body.background),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        model=model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        reasoning={
            "effort": reasoning.effort if reasoning else None,
            "summary": reasoning.summary if reasoning else None,
        },
        safety_identifier=body.safety_identifier,
        store=store,
        temperature=body.temperature,
        text=text,
        tool_choice=choice if isinstance(choice, str) else choice.model_dump(),
        tools=[tool.model_dump() for tool in body.tools or ()],
        top_logprobs=body.top_logprobs or 0,
        top_p=body.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
        metadata=body.metadata or {},
    )


def item_id(segment: Segment, key: str) -> str:
    """Return the id of a segment's item."""
    return f"{_PREFIX[segment.kind]}_{key}_{segment.index}"


def item_of(segment: Segment, key: str, opening: bool = False) -> OutputItem:
    """Return a segment as an output item.

    Args:
        segment: a stretch of the answer.
        key: of the response; ids of items are made from it.
        opening: leave its content out: the item has only just begun.
    """
    name = item_id(segment, key)
    done: ItemStatus = "completed" if segment.complete else "incomplete"
    status: ItemStatus = "in_progress" if opening else done
    if segment.kind == "call":
        return FunctionCall(
            id=name,
            call_id=segment.call_id,
            name=segment.name,
            arguments="" if opening else segment.text,
            status=status,
        )
    if segment.kind == "reasoning":
        content = [] if opening else [ReasoningText(segment.text)]
        return ReasoningOutput(id=name, status=status, content=content)
    return OutputMessage(id=name, status=status, content=[] if opening else [_text_part(segment)])


def part_of(segment: Segment, empty: bool = False) -> OutputText | ReasoningText:
    """Return the only part of a text's or a reasoning's item."""
    if segment.kind == "reasoning":
        return ReasoningText("" if empty else segment.text)
    return OutputText("") if empty else _text_part(segment)


def _text_part(segment: Segment) -> OutputText:
    return OutputText(segment.text, logprobs=[scored(entry) for entry in segment.logprobs])


def usage_of(usage: Usage, reasoning_tokens: int) -> ResponseUsage:
    """Return token counts in the responses' form."""
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputDetails(usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputDetails(reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def answered(messages: list[Message], segments: list[Segment]) -> list[Message]:
    """Return a conversation with the answer as its last message."""
    turns = Turns(messages)
    for segment in segments:
        if segment.kind == "reasoning":
            turns.think(segment.text)
        elif segment.kind == "text":
            turns.say(segment.text)
        else:
            turns.call(segment.call_id, segment.name, segment.text)
    return turns.messages
