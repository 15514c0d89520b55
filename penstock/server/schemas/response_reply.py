"""What ``/v1/responses`` answers with: the response object and its items."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from penstock.server.schemas.replies import TokenLogprob

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(Struct, frozen=True, tag_field="type", tag="output_text"):
    """Text of an answer."""

    text: str
    annotations: list[Any] = []
    logprobs: list[TokenLogprob] = []


class ReasoningText(Struct, frozen=True, tag_field="type", tag="reasoning_text"):
    """What the model thought."""

    text: str


class OutputMessage(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """What the model said."""

    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class ReasoningOutput(Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    """What the model thought, in full; no summary of it is made."""

    id: str
    status: ItemStatus
    summary: list[Any] = []
    content: list[ReasoningText]
    encrypted_content: str | None = None


class FunctionCall(Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call that the client is to make."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


OutputItem = OutputMessage | ReasoningOutput | FunctionCall


class InputDetails(Struct, frozen=True):
    """Where input tokens came from."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(Struct, frozen=True):
    """What output tokens became."""

    reasoning_tokens: int


class ResponseUsage(Struct, frozen=True):
    """Token counts of a response."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseFault(Struct, frozen=True):
    """Why a response failed."""

    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


class IncompleteDetails(Struct, frozen=True):
    """Why a response is not whole."""

    reason: Literal["max_output_tokens"]


Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class Response(Struct, frozen=True, kw_only=True):
    """A response as it stands; the settings are those that were asked for, null where none were."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    completed_at: int | None = None
    background: bool
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None = None
    user: str | None
    metadata: dict[str, str]


class ItemList(Struct, frozen=True, kw_only=True):
    """A page of input items."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Struct, frozen=True, kw_only=True):
    """A response that is gone."""

    id: str
    object: Literal["response.deleted"] = "response.deleted"
    deleted: bool = True


class InputTokens(Struct, frozen=True, kw_only=True):
    """How long an input is."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
