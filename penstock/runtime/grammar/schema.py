"""Refuses JSON schemas of which xgrammar would silently ignore a part: the answer might not validate then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from penstock.runtime.grammar.protocol import GrammarError

MAX_DEPTH = 64
"""Levels of subschemas; a schema that needs more refers to itself."""

_IGNORED = (
    *("not", "if", "then", "else", "contains", "minContains", "maxContains", "dependentRequired"),
    *("dependentSchemas", "dependencies", "unevaluatedItems", "additionalItems", "$dynamicRef"),
)
_ONE_OF_THESE = ("$ref", "anyOf", "oneOf", "allOf")
"""Keywords that stand alone: what is written beside them would be ignored..."""
_ASSERTIONS = frozenset(
    (
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "enum", "const"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("pattern", "format", "minLength", "maxLength", *_ONE_OF_THESE),
    )
)
"""... if it is one of these."""

_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")
_SINGLE = ("items", "additionalProperties", "propertyNames", "unevaluatedProperties")


def check_schema(text: str) -> None:
    """Check a schema's keywords; ranges and references are the backend's to check.

    Raises:
        GrammarError: it is not JSON, nests too deeply, or uses a keyword that would be ignored.
    """
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GrammarError(f"expected a JSON schema: {error}") from error
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    while waiting:
        path, schema, depth = waiting.pop()
        where = path or "the schema"
        if depth > MAX_DEPTH:
            raise GrammarError(f"{where}: schemas nest more than {MAX_DEPTH} levels deep")
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict):
            raise GrammarError(f"{where}: expected a schema (an object or a boolean)")
        problem = _problem(schema)
        if problem:
            raise GrammarError(f"{where}: {problem}")
        waiting.extend((f"{path}.{name}" if path else name, sub, depth + 1) for name, sub in _inside(schema))


def _problem(schema: dict[str, Any]) -> str | None:
    for keyword in _IGNORED:
        if keyword in schema:
            return f"the keyword {keyword!r} is not supported"
    if schema.get("uniqueItems"):
        return "the keyword 'uniqueItems' is not supported"
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) > 1:
        return "'allOf' with more than one schema is not supported"
    reference = schema.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        return f"the reference {reference[:80]!r} does not point into the schema itself"
    for keyword in ("pattern", "format"):
        if keyword in schema and ("minLength" in schema or "maxLength" in schema):
            return f"{keyword!r} beside 'minLength' or 'maxLength' is not supported"
    alone = [keyword for keyword in _ONE_OF_THESE if keyword in schema]
    others = sorted(_ASSERTIONS & schema.keys() - set(alone[:1]))
    if alone and others:
        return f"{others[0]!r} beside {alone[0]!r} is not supported"
    return None


def _inside(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in _MAPS:
        found = schema.get(keyword)
        if isinstance(found, dict):
            yield from ((f"{keyword}.{name}", sub) for name, sub in found.items())
    for keyword in _LISTS:
        found = schema.get(keyword)
        if isinstance(found, list):
            yield from ((f"{keyword}[{i}]", sub) for i, sub in enumerate(found))
    for keyword in _SINGLE:
        if keyword in schema:
            yield keyword, schema[keyword]
