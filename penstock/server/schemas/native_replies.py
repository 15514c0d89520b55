"""What the token-level endpoints answer with."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from penstock.server.schemas.replies import ChatLogprobs, PromptLogprob, Usage

Scored = tuple[float | None, int, str | None]
"""Log-probability (null for the first token of a prompt), token id, and text where asked for."""


class Ended(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an answer ended."""

    type: Literal["stop", "length"]
    matched: int | str | UnsetType | None = UNSET
    """With ``stop``: the stop id or string; null for the model's own end."""
    length: int | UnsetType = UNSET
    """With ``length``: how many tokens were generated."""


class MetaInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Figures of one answer."""

    id: str
    finish_reason: Ended | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    e2e_latency: float | UnsetType = UNSET
    """Seconds from admission to the last token, with the end."""
    queue_time: float | UnsetType = UNSET
    """Seconds until it first ran, with the end."""
    total_retractions: int | UnsetType = UNSET
    """How often it was preempted, with the end."""
    input_token_logprobs: list[Scored] | UnsetType = UNSET
    input_top_logprobs: list[list[Scored] | None] | UnsetType = UNSET
    output_token_logprobs: list[Scored] | UnsetType = UNSET
    output_top_logprobs: list[list[Scored] | None] | UnsetType = UNSET


class Generated(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer of ``/generate``, or what a stream knows of it."""

    text: str
    output_ids: list[int]
    meta_info: MetaInfo
    index: int | UnsetType = UNSET
    """In streams of more than one answer: prompt * n + answer."""


class TokensChoice(Struct, frozen=True):
    """One answer of ``/inference/v1/generate``, or news of it."""

    index: int
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    token_ids: list[int]


class TokensReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer of ``/inference/v1/generate``, and each event of its stream."""

    request_id: str
    choices: list[TokensChoice]
    usage: Usage | UnsetType = UNSET
    prompt_logprobs: list[dict[int, PromptLogprob] | None] | UnsetType | None = UNSET
