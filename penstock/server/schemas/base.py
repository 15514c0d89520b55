"""What every request body shares: strict types, OpenAI's tolerance of unknown fields, bounded numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_INT = 2**63 - 1

TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True, min_length=1)]
"""Fails at the first bad id: a body of a million of them must not cost a million error records."""
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
"""An identifier of the caller's: visible ASCII without spaces, so that it is safe in logs and headers."""
Label = Annotated[str, Field(min_length=1, max_length=256)]


class Body(BaseModel):
    """A JSON body. ``null`` means absent for every optional field, as OpenAI reads it.

    Types are strict (``"5"`` is not 5); fields that nobody knows are ignored, as OpenAI ignores them.
    """

    model_config = ConfigDict(
        extra="ignore", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=()
    )
