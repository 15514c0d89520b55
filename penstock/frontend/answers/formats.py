"""The building blocks of structural tags: texts, schemas, and how they are put together.

A *format* is the ``format`` member of a structural tag: https://xgrammar.mlc.ai/docs (structural tags).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Format = dict[str, Any]
Tools = Sequence[Mapping[str, Any]]

_BLANKS = 24
"""Most white space between two marks of JSON: room for indentation, none for an endless line of blanks."""

BLANKS_IN_CALLS = 1
"""The same in calls, which every chat template writes on one line: weak models fall for blanks."""


def structural_tag(form: Format) -> str:
    """Return the structural tag of a format, as JSON."""
    return json.dumps({"type": "structural_tag", "format": form}, ensure_ascii=False)


def const(value: str) -> Format:
    """Return the format of just this text."""
    return {"type": "const_string", "value": value}


def sequence(*elements: Format) -> Format:
    """Return the format of one after the other."""
    return {"type": "sequence", "elements": list(elements)} if len(elements) > 1 else elements[0]


def either(elements: Sequence[Format]) -> Format:
    """Return the format of any one."""
    return {"type": "or", "elements": list(elements)} if len(elements) > 1 else elements[0]


def optional(content: Format) -> Format:
    """Return the format of once or not at all."""
    return {"type": "optional", "content": content}


def schema(of: Any, blanks: int = _BLANKS) -> Format:
    """Return the format of JSON of a schema, with so much white space between two marks at most."""
    return {"type": "json_schema", "json_schema": of, "max_whitespace_cnt": blanks}


def repeated(item: Format, separator: str, parallel: bool) -> Format:
    """Return the format of one item, or of several with a separator."""
    if not parallel:
        return item
    return sequence(item, {"type": "star", "content": sequence(const(separator), item)})


def dispatch(rules: Sequence[tuple[str, Format]], loop: bool) -> Format:
    """Return the format of text in which certain beginnings must go on in a certain way."""
    return {"type": "dispatch", "rules": [list(rule) for rule in rules], "loop": loop}
