"""What bodies of endpoints with exactly one answer share, and how they pass fields on to a chat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from pydantic import AfterValidator, model_validator

from penstock.core.errors import InvalidRequest
from penstock.server.schemas.sampling import GenerationBody

_OWN = frozenset({"stream", "stream_options", "n", "return_token_ids", "prompt_logprobs"})
"""Fields that mean nothing to the chat behind the endpoint: its writer reads them, or refuses them."""


class SingleAnswerBody(GenerationBody):
    """A body of an endpoint with one answer; the extras of chat are taken under their names."""

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if self.n not in (None, 1):
            raise InvalidRequest("n", "must be 1: this endpoint gives one answer")
        for name in ("return_token_ids", "prompt_logprobs"):
            if getattr(self, name):
                raise InvalidRequest(name, "is not served by this endpoint; chat completions have it")
        return self

    def shared(self) -> dict[str, Any]:
        """Return the fields that were given and that chat knows by the same name and meaning."""
        names = (self.model_fields_set & GenerationBody.model_fields.keys()) - _OWN
        return {name: getattr(self, name) for name in names}


def kind_of(kinds: Mapping[str, str], default: str = "") -> Callable[[Any], str]:
    """Return a discriminator by ``type``: the tag of the kind, or ``Unserved``.

    Args:
        kinds: from ``type`` to the tag of the member of the union.
        default: the type of what names none.
    """

    def tag(value: Any) -> str:
        kind = value.get("type", default) if isinstance(value, dict) else getattr(value, "type", default)
        return kinds.get(kind, "Unserved") if isinstance(kind, str) else "Unserved"

    return tag


def refuse(what: str, served: Iterable[str]) -> AfterValidator:
    """Return a validator for the ``type`` of what is known to exist and not served."""
    names = ", ".join(sorted(served))

    def check(value: Any) -> Any:
        shown = repr(value)[:64]
        raise ValueError(f"{what} of type {shown} are not served here; those served are: {names}")

    return AfterValidator(check)
