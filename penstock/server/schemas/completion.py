"""Body of ``POST /v1/completions``."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.base import TokenIds
from penstock.server.schemas.sampling import GenerationBody

Prompt = (
    str
    | TokenIds
    | Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=2048)]
    | Annotated[list[TokenIds], Field(fail_fast=True, min_length=1, max_length=2048)]
)


class CompletionRequest(GenerationBody):
    """Text or token ids to go on with, one prompt or a batch."""

    prompt: Prompt
    logprobs: int | None = Field(None, ge=0, le=20, description="How many alternatives to score per token")
    echo: bool | None = Field(None, description="Put the prompt before the answer")
    best_of: int | None = Field(None, ge=1, le=128)
    suffix: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise InvalidRequest("best_of", "other than n is not supported by this server")
        if self.suffix:
            raise InvalidRequest("suffix", "is not supported by this server")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options", "is only allowed when stream is true")
        return self

    def prompts(self) -> list[str] | list[list[int]]:
        """Return the batch of prompts, each a text or a list of ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt
