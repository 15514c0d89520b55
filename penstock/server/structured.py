"""From the many spellings of structured output to the one form that the engine knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.errors import InvalidRequest
from penstock.core.request import GrammarSpec
from penstock.frontend.structured import grammar_spec
from penstock.server.schemas.structured import ResponseFormat, StructuredFields

_PLAIN = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "json_schema": "json",
    "regex": "regex",
    "ebnf": "grammar",
    "structural_tag": "structural_tag",
}
"""Fields that hold the constraint itself -> its kind."""
_MEMBERS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")


def grammar_of(body: StructuredFields) -> GrammarSpec | None:
    """Return what a body binds its answers to; None for nothing.

    Raises:
        InvalidRequest: two constraints at once, or one of the wrong form; names the field.
    """
    found = list(_found(body))
    if len(found) > 1:
        raise InvalidRequest(found[1].field, f"excludes {found[0].field}: an answer has one form")
    return found[0] if found else None


def _found(body: StructuredFields) -> Iterator[GrammarSpec]:
    if body.response_format is not None:
        spec = _of_format(body.response_format)
        if spec is not None:
            yield spec
    outputs = body.structured_outputs
    if outputs is not None:
        for kind in _MEMBERS:
            value = getattr(outputs, "json_" if kind == "json" else kind)
            if value not in (None, False):
                yield grammar_spec(kind, value, f"structured_outputs.{kind}")
    for field, kind in _PLAIN.items():
        value = getattr(body, field)
        if value is not None:
            yield grammar_spec(kind, value, field)


def _of_format(asked: ResponseFormat) -> GrammarSpec | None:
    if asked.type == "json_object":
        return grammar_spec("json_object", None, "response_format")
    if asked.type == "json_schema" and asked.json_schema is not None:
        form = asked.json_schema
        schema: Any = True if form.of is None else form.of
        return grammar_spec(
            "json", schema, "response_format.json_schema.schema", strict=form.strict is not False
        )
    if asked.type == "structural_tag":
        tag = asked.model_dump(include={"type", "format", "structures", "triggers"}, exclude_none=True)
        return grammar_spec("structural_tag", tag, "response_format")
    return None
