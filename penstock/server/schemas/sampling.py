"""Fields that chat and completion requests have in common: OpenAI's, and ours beside them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from penstock.server.schemas.base import MAX_INT, Body, Label, TokenId, TokenIds
from penstock.server.schemas.scheduling import SchedulingFields
from penstock.server.schemas.structured import StructuredFields


def _not_blank(text: str) -> str:
    if not text:
        raise ValueError("a stop string must not be empty")
    return text


StopString = Annotated[str, AfterValidator(_not_blank), Field(max_length=4096)]


class StreamOptions(Body):
    """What a stream carries besides its text."""

    include_usage: bool | None = Field(None, description="Send the token counts in a last chunk")
    continuous_usage_stats: bool | None = Field(None, description="Send the token counts in every chunk")


class SamplingFields(Body):
    """How tokens are chosen. Ranges follow OpenAI where it has the field."""

    max_tokens: int | None = Field(None, ge=0, le=MAX_INT, description="Most tokens to generate")
    temperature: float | None = Field(None, ge=0, le=100, description="0 is greedy")
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=128, description="Number of answers")
    stop: StopString | Annotated[list[StopString], Field(max_length=64)] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=MAX_INT, description="Equal seeds give equal answers")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=65536, description="Token id, as a string, to the value added to its logit"
    )

    top_k: int | None = Field(None, ge=-1, le=MAX_INT, description="Keep the k likeliest; 0 or -1 keeps all")
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=100)
    min_tokens: int | None = Field(None, ge=0, le=MAX_INT)
    stop_token_ids: Annotated[list[TokenId], Field(fail_fast=True, max_length=256)] | None = None
    ignore_eos: bool | None = None
    allowed_token_ids: TokenIds | None = None
    bad_words: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(max_length=1024)] | None
    ) = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    add_special_tokens: bool | None = None
    truncate_prompt_tokens: int | None = Field(
        None, ge=1, le=MAX_INT, description="Keep only so many of the prompt's last tokens"
    )
    prompt_logprobs: int | None = Field(None, ge=0, le=20)

    @field_validator("logit_bias")
    @classmethod
    def _bias_keys_are_ids(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for key in value or {}:
            if not (key.isascii() and key.isdigit() and len(key) <= 10):
                raise ValueError(f"keys must be token ids written as digits, got {key[:32]!r}")
        return value

    def stops(self) -> tuple[str, ...]:
        """Return the stop strings as a tuple."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class GenerationBody(SamplingFields, SchedulingFields, StructuredFields):
    """Fields of both of OpenAI's generation endpoints."""

    model: Label | None = Field(None, description="Served model name; absent takes the one that is served")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stream_interval: int | None = Field(
        None, ge=1, le=4096, description="Tokens that a streamed event gathers, except the first and the last"
    )
    return_token_ids: bool | None = Field(None, description="Send the ids of the tokens along")


def _nothing_asked(value: Any) -> Any:
    if value:
        raise ValueError("is not supported by this server")
    return value


Unserved = AfterValidator(_nothing_asked)
"""Marks a field that we know but do not serve: ignoring it would give an answer that was not asked for."""
