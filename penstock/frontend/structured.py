"""What people write to bind an answer to a language, as one `GrammarSpec`; used offline and by the server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.core.errors import InvalidRequest
from penstock.core.request import GrammarSpec

KINDS = ("json", "json_object", "regex", "choice", "grammar", "structural_tag")
MAX_CHOICES = 4096


def structured_outputs(field: str, value: Any) -> GrammarSpec | None:
    """Read ``{"json": ...}``, ``{"regex": ...}``, ``{"choice": [...]}``, ``{"grammar": ...}``,
    ``{"json_object": true}`` or ``{"structural_tag": ...}``; a `GrammarSpec` is taken as it is.

    Args:
        field: what to call it in errors.
        value: what was given.

    Raises:
        InvalidRequest: names the member at fault.
    """
    if value is None or isinstance(value, GrammarSpec):
        return value
    if not isinstance(value, Mapping):
        raise InvalidRequest(field, f"expected an object with one of {', '.join(KINDS)}, got {value!r}")
    unknown = [name for name in value if name not in KINDS and name != "strict"]
    if unknown:
        raise InvalidRequest(f"{field}.{unknown[0]}", f"expected one of {', '.join(KINDS)}")
    given = {name: value[name] for name in KINDS if value.get(name) not in (None, False)}
    if len(given) > 1:
        first, second = list(given)[:2]
        raise InvalidRequest(f"{field}.{second}", f"excludes {field}.{first}")
    for name, of in given.items():
        return grammar_spec(name, of, f"{field}.{name}", strict=value.get("strict") is not False)
    raise InvalidRequest(field, f"expected one of {', '.join(KINDS)}")


def grammar_spec(kind: str, value: Any, field: str, *, strict: bool = True) -> GrammarSpec:
    """Return the constraint of one kind.

    Args:
        kind: one of `KINDS`.
        value: a schema (object or JSON text), a text, a list of texts, or a structural tag.
        field: what the client called it.
        strict: for a schema, see `GrammarSpec`.

    Raises:
        InvalidRequest: it has the wrong type. Whether it can be compiled turns out later.
    """
    match kind:
        case "json":
            return GrammarSpec(kind="json_schema", text=_json(value, field), strict=strict, field=field)
        case "json_object":
            return GrammarSpec(kind="json_object", field=field)
        case "regex":
            return GrammarSpec(kind="regex", text=_text(value, field), field=field)
        case "choice":
            return GrammarSpec(kind="choice", text=_choices(value, field), field=field)
        case "grammar":
            return GrammarSpec(kind="grammar", text=_text(value, field), field=field)
        case "structural_tag":
            return GrammarSpec(kind="structural_tag", text=_json(value, field), field=field)
    raise ValueError(f"no kind of grammar: {kind}")


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(field, f"expected a text that is not empty, got {value!r}"[:200])
    return _encodable(value, field)


def _encodable(text: str, field: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(field, "expected valid Unicode, got half a surrogate pair") from None
    return text


def _json(value: Any, field: str) -> str:
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(field, f"expected JSON: {error}") from None
        if not isinstance(parsed, dict | bool):
            raise InvalidRequest(field, f"expected a JSON object, got {value[:80]!r}")
        return _encodable(value, field)
    if not isinstance(value, Mapping | bool):
        raise InvalidRequest(field, f"expected an object, got {type(value).__name__}")
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(field, f"expected what JSON can hold: {error}") from None


def _choices(value: Any, field: str) -> str:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence) or not value:
        raise InvalidRequest(field, "expected a list of texts that is not empty")
    if len(value) > MAX_CHOICES:
        raise InvalidRequest(field, f"expected at most {MAX_CHOICES} texts, got {len(value)}")
    return json.dumps([_text(one, f"{field}[{i}]") for i, one in enumerate(value)])
