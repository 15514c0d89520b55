"""Body and reply of ``POST /v1/embeddings``."""

from __future__ import annotations

from typing import Literal

import msgspec
from pydantic import Field

from penstock.server.schemas.base import MAX_INT, Label
from penstock.server.schemas.completion import Prompt
from penstock.server.schemas.scheduling import SchedulingFields


class EmbeddingRequest(SchedulingFields):
    """Texts or token ids to be turned into vectors."""

    input: Prompt
    model: Label | None = Field(None, description="Served model name; absent takes the one that is served")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64 packs little-endian float32; default float"
    )
    dimensions: int | None = Field(None, ge=1, le=2**31 - 1, description="Keep only the first dimensions")
    pooling: Literal["mean", "last"] | None = Field(
        None, description="Average the tokens' final hidden states (default), or take the last token's"
    )
    normalize: bool | None = Field(None, description="Scale to length 1; default true")
    add_special_tokens: bool | None = Field(None, description="Default true")
    truncate_prompt_tokens: int | None = Field(
        None, ge=1, le=MAX_INT, description="Keep only so many of each input's last tokens"
    )

    def inputs(self) -> list[str] | list[list[int]]:
        """Return the batch of inputs, each a text or a list of ids."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]
        return self.input


class Embedding(msgspec.Struct, frozen=True):
    """The vector of one input."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct, frozen=True):
    """Token counts over all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, frozen=True):
    """Answer of ``/v1/embeddings``."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
