"""JSON text as answers need it: forgiving in what it reads, strict in what it writes."""

from __future__ import annotations

import json
from typing import Any


def to_json(value: Any) -> str | None:
    """Return a value as JSON text, None if it has none.

    UTF-8 can hold the text, whatever escapes the value came from.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return text if encodable(text) else json.dumps(value)
    except (ValueError, TypeError, RecursionError):
        return None


def from_json(text: str) -> Any:
    """Return the value of JSON text, line breaks in its strings forgiven; None for null and for no JSON."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def encodable(text: str) -> bool:
    """Say whether UTF-8 can hold the text: not when an escape has left half a surrogate pair in it."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def as_object(text: str) -> str | None:
    """Return the text of a JSON object if that is what the text is, or nearly."""
    value = from_json(text)
    return to_json(value) if isinstance(value, dict) else None
