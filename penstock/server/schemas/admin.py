"""Bodies and answers of the administrative routes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from pydantic import Field, model_validator

from penstock.server.schemas.base import Body

Id = Annotated[str, Field(min_length=1, max_length=512)]


class AbortRequest(Body):
    """Which requests to end; the names are ours, vLLM's and SGLang's."""

    request_id: Id | None = None
    request_ids: Annotated[list[Id], Field(max_length=4096)] | None = None
    rid: Id | None = Field(None, description="SGLang's name of request_id")
    all: bool | None = Field(None, description="All requests that the key may end")
    abort_all: bool | None = Field(None, description="SGLang's name of all")

    @model_validator(mode="after")
    def _says_which(self) -> AbortRequest:
        if not self.everything() and not self.ids():
            raise ValueError("expected request_id, request_ids or all")
        return self

    def everything(self) -> bool:
        """Whether all requests are meant."""
        return bool(self.all or self.abort_all)

    def ids(self) -> frozenset[str]:
        """Return the ids that are named."""
        return frozenset(each for each in (self.request_id, self.rid, *(self.request_ids or ())) if each)


class Aborted(msgspec.Struct, frozen=True):
    """The answers that were ended."""

    aborted: list[str]


class ProfileStarted(msgspec.Struct, frozen=True):
    """The engine's steps are being recorded."""

    success: bool


class ProfileStopped(msgspec.Struct, frozen=True):
    """A profile was written."""

    path: str
    """Of the file, on the server's machine."""


class CacheReset(msgspec.Struct, frozen=True):
    """The cached prefixes are gone."""

    success: bool
