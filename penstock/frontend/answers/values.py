"""Values of arguments that are written bare, strings without quotes: the tool's schema tells them apart."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from penstock.frontend.answers.json_text import from_json, to_json

Types = frozenset[str]
"""JSON Schema's names of types."""

ANY: Types = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
TEXT: Types = frozenset({"string"})
"""Text as it stands."""
PERHAPS: Types = frozenset({"string", "null"})
"""The same, but for the word null."""

_WORDS = {"true": True, "false": False, "null": None}
"""JSON's names for what Python spells otherwise; models mix them."""

_DEEPEST = 16
_SURROGATE = re.compile("[\ud800-\udfff]")


def types_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Types:
    """Return the types that a schema lets through, as far as it says so at its top.

    Args:
        schema: of one parameter.
        root: of all parameters: what references begin at.
    """
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return ANY
    found = ANY
    if isinstance(schema.get("$ref"), str):
        found &= types_of(target_of(schema["$ref"], root), root, depth + 1)
    if "const" in schema:
        found &= {_type(schema["const"])}
    if isinstance(schema.get("enum"), list):
        found &= frozenset(_type(value) for value in schema["enum"])
    named = schema.get("type")
    listed = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    if listed:
        found &= frozenset(one for one in listed if isinstance(one, str))
        found |= {"integer"} if "number" in found else frozenset()
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found &= frozenset().union(*(types_of(one, root, depth + 1) for one in schema[key]))
    for one in schema.get("allOf") or ():
        found &= types_of(one, root, depth + 1)
    return found or ANY


def target_of(reference: str, root: Mapping[str, Any]) -> Any:
    """Return what a reference within the document points at; None if nothing."""
    if not reference.startswith("#"):
        return None
    place: Any = root
    for part in reference[1:].split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", type(None): "null", list: "array"}
    return names.get(type(value), "object")


def value_as_json(text: str, types: Types) -> str:
    """Return a bare value as JSON text.

    Text is text where the schema allows nothing else (or null besides). Otherwise JSON is taken at its word,
    and so are Python's literals where it cannot be text; what is neither is text.
    """
    if types == TEXT or (types == PERHAPS and text.strip() != "null"):
        return f'"{inside_string(text)}"'
    if "string" not in types:
        return as_json(text)
    value = from_json(text.strip())
    found = to_json(value) if value is not None or text.strip() == "null" else None
    return found if found is not None else f'"{inside_string(text)}"'


def inside_string(text: str) -> str:
    """Return a text as it stands between the quotes of JSON; pieces may be joined.

    Halves of surrogate pairs, which UTF-8 cannot hold, are spelled as escapes.
    """
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", json.dumps(text, ensure_ascii=False)[1:-1])


def as_json(text: str) -> str:
    """Return a Python (or JSON) literal as JSON text; what is neither becomes a string of itself."""
    text = text.strip()
    value = from_json(text)
    found = to_json(value) if value is not None or text == "null" else None
    if found is None:
        try:
            found = to_json(_plain(ast.parse(text, mode="eval").body))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found = None
    return found if found is not None else to_json(text) or '""'


def _plain(node: ast.expr) -> Any:
    """Return the value of a literal's syntax tree. Raises ValueError for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        return node.value
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_plain(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _plain(key) for key in node.keys]
        return {str(key): _plain(value) for key, value in zip(keys, node.values, strict=True)}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        operand = _plain(node.operand)
        if isinstance(operand, int | float):
            return -operand
    raise ValueError("no literal")
