"""JSON schemas by seed, of the kinds that people bind answers to; every answer to one is of bounded length.

Objects in objects, arrays, enumerations, constants, numbers with bounds, strings with lengths, patterns and
formats, optional properties, alternatives, references, recursion through them.
"""

from __future__ import annotations

import random
import re
from typing import Any

Schema = dict[str, Any]

PATTERNS = (
    "^[a-z]{1,8}$",
    "^[A-Z]{2}-[0-9]{3}$",
    "^(foo|bar|baz){1,3}$",
    "^#[0-9a-f]{6}$",
    "^v[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}$",
    "^[A-Za-z_][A-Za-z0-9_]{0,7}$",
)
FORMATS = {
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "time": re.compile(r"\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"),
    "date-time": re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "ipv4": re.compile(r"\d{1,3}(\.\d{1,3}){3}"),
}
"""Formats, and the shape of what has them (that the day exists is beyond a grammar)."""

_NAMES = ("name", "id", "kind", "count", "items", "city", "price", "tags", "note", "owner", "next", "état")


class SchemaGenerator:
    """Draws schemas.

    Args:
        seed: equal seeds draw equal schemas.
        depth: levels of nesting below the root.
    """

    def __init__(self, seed: int, depth: int = 2) -> None:
        self._random = random.Random(seed)
        self._depth = depth
        self._names: list[str] = []

    def schema(self) -> Schema:
        """Return the next schema: an object, with definitions if it refers to any."""
        rng = self._random
        self._names = ["part", "choice", "link"] if rng.random() < 0.4 else []
        root = self._object(self._depth)
        if self._names:
            root["$defs"] = {"part": self._flat_object(), "choice": self._leaf(), "link": self._link()}
        self._names = []
        return root

    def _node(self, depth: int) -> Schema:
        rng = self._random
        if self._names and rng.random() < 0.25:
            return {"$ref": f"#/$defs/{rng.choice(self._names)}"}
        if depth <= 0 or rng.random() < 0.4:
            return self._leaf()
        return rng.choice((self._object, self._object, self._array, self._any_of))(depth - 1)

    def _object(self, depth: int) -> Schema:
        rng = self._random
        names = rng.sample(_NAMES, rng.randint(1, 4))
        return {
            "type": "object",
            "properties": {name: self._node(depth) for name in names},
            "required": [name for name in names if rng.random() < 0.7],
            "additionalProperties": False,
        }

    def _flat_object(self) -> Schema:
        return {
            "type": "object",
            "properties": {name: self._leaf() for name in ("a", "b")},
            "required": ["a"],
            "additionalProperties": False,
        }

    def _link(self) -> Schema:
        """A chain; each link may be the last."""
        return {
            "type": "object",
            "properties": {
                "value": self._leaf(),
                "rest": {"anyOf": [{"type": "null"}, {"type": "boolean"}, {"$ref": "#/$defs/link"}]},
            },
            "required": ["value", "rest"],
            "additionalProperties": False,
        }

    def _array(self, depth: int) -> Schema:
        rng = self._random
        least = rng.randint(0, 2)
        return {
            "type": "array",
            "items": self._node(depth),
            "minItems": least,
            "maxItems": least + rng.randint(0, 2),
        }

    def _any_of(self, depth: int) -> Schema:
        return {"anyOf": [self._node(depth), self._leaf()]}

    def _leaf(self) -> Schema:
        rng = self._random
        return rng.choice(
            (self._word, self._shaped, self._dated, self._integer, self._number, self._few, self._plain)
        )()

    def _word(self) -> Schema:
        least = self._random.randint(0, 3)
        return {"type": "string", "minLength": least, "maxLength": least + self._random.randint(0, 9)}

    def _shaped(self) -> Schema:
        return {"type": "string", "pattern": self._random.choice(PATTERNS)}

    def _dated(self) -> Schema:
        return {"type": "string", "format": self._random.choice(tuple(FORMATS))}

    def _integer(self) -> Schema:
        low = self._random.randint(-1000, 1000)
        bounds: Schema = {"minimum": low, "maximum": low + self._random.randint(0, 5000)}
        if self._random.random() < 0.3:
            bounds = {"exclusiveMinimum": low, "exclusiveMaximum": low + self._random.randint(2, 90)}
        return {"type": "integer", **bounds}

    def _number(self) -> Schema:
        low = self._random.randint(-50, 50)
        return {"type": "number", "minimum": low, "maximum": low + self._random.randint(1, 100)}

    def _few(self) -> Schema:
        rng = self._random
        values = ["red", "größe", 'a "quoted" word', "back\\slash", 7, -2.5, None, True, {"a": [1]}]
        return (
            {"const": rng.choice(values)}
            if rng.random() < 0.3
            else {"enum": rng.sample(values, rng.randint(1, 4))}
        )

    def _plain(self) -> Schema:
        return {"type": self._random.choice(("boolean", "null", ["integer", "null"]))}
