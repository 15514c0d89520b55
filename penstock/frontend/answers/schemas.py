"""Schemas of tools' arguments, made ready for a grammar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYWORDS = ("properties", "$defs", "definitions")
"""Members whose own members are schemas, whatever they are called."""


def arguments_schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the whole arguments object of an OpenAI-style tool.

    A tool without parameters takes ``{}``. Objects hold the named properties only, unless the schema says
    otherwise or the tool says ``strict: false``: then what JSON Schema leaves open stays open.
    """
    function = tool["function"]
    given = function.get("parameters")
    if not given:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    found: dict[str, Any] = {**given, "type": "object"}
    if function.get("strict") is False:
        opened: dict[str, Any] = opened_schema(found)
        return opened
    if "properties" not in found and not function.get("strict"):
        found.setdefault("additionalProperties", True)  # "any object": nothing is named, so nothing is closed
    return found


def parameter_schemas(
    tool: Mapping[str, Any],
) -> tuple[list[tuple[str, dict[str, Any]]], list[tuple[str, dict[str, Any]]]]:
    """Return (name, schema) of the required parameters and of the others, each able to stand alone."""
    whole = arguments_schema(tool)
    shared = {key: whole[key] for key in ("$defs", "definitions") if key in whole}
    needed = [name for name in whole.get("required") or () if isinstance(name, str)]
    properties = whole.get("properties") or {}
    standing = {
        name: {**shared, **of} if isinstance(of, dict) and shared else of for name, of in properties.items()
    }
    return (
        [(name, standing[name]) for name in standing if name in needed],
        [(name, standing[name]) for name in standing if name not in needed],
    )


def opened_schema(of: Any, named: bool = False) -> Any:
    """Return a schema whose objects may hold more than the named properties, where it does not forbid it."""
    if isinstance(of, list):
        return [opened_schema(one) for one in of]
    if not isinstance(of, dict):
        return of
    found = {
        key: value if key in ("enum", "const", "default", "examples") and not named
        else opened_schema(value, named=key in _KEYWORDS and not named)
        for key, value in of.items()
    }  # fmt: skip
    if not named and ("properties" in found or found.get("type") == "object"):
        found.setdefault("additionalProperties", True)
    return found
