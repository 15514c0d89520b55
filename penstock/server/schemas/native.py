"""Bodies of the token-level endpoints ``/generate`` and ``/inference/v1/generate``."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.base import MAX_INT, Label, Name, TokenIds
from penstock.server.schemas.completion import CompletionRequest
from penstock.server.schemas.sampling import SamplingFields, StreamOptions
from penstock.server.schemas.scheduling import SchedulingFields
from penstock.server.schemas.structured import StructuredFields

_MOST_PROMPTS = 2048

Texts = str | Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=_MOST_PROMPTS)]
Ids = TokenIds | Annotated[list[TokenIds], Field(fail_fast=True, min_length=1, max_length=_MOST_PROMPTS)]

_OTHER_NAMES = {
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "sampling_seed": "seed",
    "no_stop_trim": "include_stop_str_in_output",
}


class NativeParams(SamplingFields, StructuredFields):
    """``sampling_params`` of a token-level request; the names of either engine are understood."""

    max_new_tokens: int | None = Field(None, ge=0, le=MAX_INT, description="Another name of max_tokens")
    min_new_tokens: int | None = Field(None, ge=0, le=MAX_INT, description="Another name of min_tokens")
    sampling_seed: int | None = Field(None, ge=-(2**63), le=MAX_INT, description="Another name of seed")
    no_stop_trim: bool | None = Field(None, description="Another name of include_stop_str_in_output")
    logprobs: int | None = Field(None, ge=0, le=20, description="How many alternatives to score per token")

    def fields(self) -> dict[str, Any]:
        """Return what was given, under the names of `CompletionRequest`."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for other, name in _OTHER_NAMES.items():
            if (value := given.pop(other, None)) is not None:
                given[name] = value
        return given


class GenerateRequest(SchedulingFields):
    """Texts or token ids to go on with; the reply carries text, token ids and figures of each answer."""

    model: Label | None = Field(None, description="Served model name; absent takes the one that is served")
    text: Texts | None = Field(None, description="One prompt, or a batch of them")
    input_ids: Ids | None = Field(None, description="Token ids of one prompt or of a batch, in place of text")
    sampling_params: (
        NativeParams | Annotated[list[NativeParams], Field(min_length=1, max_length=_MOST_PROMPTS)] | None
    ) = Field(None, description="One for all prompts, or one per prompt")
    rid: Name | None = Field(None, description="Caller's id of the request")
    stream: bool | None = Field(None, description="Answer as server-sent events, each with all so far")
    incremental: bool | None = Field(None, description="Stream events carry their news alone, not all so far")
    return_logprob: bool | None = None
    top_logprobs_num: int | None = Field(None, ge=0, le=20, description="Alternatives scored per token")
    logprob_start_len: int | None = Field(
        None, ge=-1, le=MAX_INT, description="First prompt token to be scored; -1 or absent scores none"
    )
    return_text_in_logprobs: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.text is None) == (self.input_ids is None):
            raise InvalidRequest("text", "exactly one of text and input_ids is needed")
        params = self.sampling_params
        if isinstance(params, list) and len(params) != len(self.prompts()):
            raise InvalidRequest(
                "sampling_params", f"expected one per prompt ({len(self.prompts())}), got {len(params)}"
            )
        return self

    @property
    def single(self) -> bool:
        """Whether one prompt was given, not a list of them: the reply has the same form."""
        return isinstance(self.text, str) or bool(self.input_ids and isinstance(self.input_ids[0], int))

    def prompts(self) -> list[Any]:
        """Return the prompts, each a text or a list of ids."""
        given: Any = self.text if self.text is not None else self.input_ids
        return [given] if self.single else given

    def params(self, index: int) -> NativeParams:
        """Return the parameters of a prompt."""
        if isinstance(self.sampling_params, list):
            return self.sampling_params[index]
        return self.sampling_params or NativeParams.model_construct()

    def completions(self) -> list[CompletionRequest]:
        """Return the completion requests that ask for the same, one per prompt; 128 tokens by default."""
        found = []
        for index, prompt in enumerate(self.prompts()):
            fields = {"max_tokens": 128, **self.params(index).fields()}
            if self.return_logprob:
                fields["logprobs"] = self.top_logprobs_num or 0
                if self.logprob_start_len is not None and self.logprob_start_len >= 0:
                    fields["prompt_logprobs"] = self.top_logprobs_num or 0
            found.append(_completion(self, prompt, fields))
        return found


class TokensRequest(SchedulingFields):
    """Token ids in, token ids out: nothing is made of text but what stop strings need."""

    model: Label | None = Field(None, description="Served model name; absent takes the one that is served")
    token_ids: TokenIds
    sampling_params: NativeParams
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options", "is only allowed when stream is true")
        return self

    def completion(self) -> CompletionRequest:
        """Return the completion request that asks for the same; 16 tokens by default."""
        return _completion(self, self.token_ids, self.sampling_params.fields())


def _completion(body: SchedulingFields, prompt: Any, fields: dict[str, Any]) -> CompletionRequest:
    """Build it of values that were checked already: a long prompt is not looked at again."""
    account = {name: getattr(body, name) for name in SchedulingFields.model_fields}
    return CompletionRequest.model_construct(**{**account, **fields, "prompt": prompt})
