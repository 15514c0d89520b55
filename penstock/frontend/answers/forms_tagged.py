"""The forms whose arguments have tags of their own: strings stand bare, everything else is JSON.

Bare text cannot hold the tag that ends it. Bounds of its length are kept, and patterns in which that tag
cannot hide; `format` is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from penstock.frontend.answers import glm, qwen_coder
from penstock.frontend.answers.formats import (
    BLANKS_IN_CALLS,
    Format,
    Tools,
    const,
    dispatch,
    either,
    optional,
    repeated,
    schema,
    sequence,
)
from penstock.frontend.answers.schemas import arguments_schema, parameter_schemas
from penstock.frontend.answers.tagged import CLOSE, OPEN
from penstock.frontend.answers.values import PERHAPS, TEXT, target_of, types_of

_DEEPEST = 16
_MAY_HOLD_A_TAG = re.compile(r"\.|\[\^|\\[SWDPp]|<|\\x|\\u")
"""What lets a ``<`` through in a regular expression, once escaped dots are gone."""


def qwen3_coder(tools: Tools, required: bool, parallel: bool) -> Format:
    """Return the language of Qwen 3 Coder's calls."""
    end = const(f"{qwen_coder.FUNCTION_END}\n{CLOSE}")
    calls = []
    for tool in tools:
        head = const(f"\n{qwen_coder.FUNCTION}{tool['function']['name']}>\n")
        calls.append(sequence(head, *_arguments(tool, _qwen_argument), end))
    return _tagged(either(calls), required, parallel)


def _qwen_argument(key: Format, value: Callable[[str], Format]) -> Format:
    return sequence(
        *(const(qwen_coder.PARAMETER), key, const(">\n")),
        *(value(qwen_coder.PARAMETER_END), const(f"\n{qwen_coder.PARAMETER_END}\n")),
    )


def glm45(tools: Tools, required: bool, parallel: bool) -> Format:
    """Return the language of GLM's calls, with line breaks (4.5) or without (4.7)."""
    calls = []
    for tool in tools:
        head = const(str(tool["function"]["name"]))
        calls.append(sequence(head, _LINE, *_arguments(tool, _glm_argument), const(CLOSE)))
    return _tagged(either(calls), required, parallel)


_LINE = optional(const("\n"))


def _glm_argument(key: Format, value: Callable[[str], Format]) -> Format:
    return sequence(
        *(const(glm.KEY), key, const(glm.KEY_END), _LINE),
        *(const(glm.VALUE), value(glm.VALUE_END), const(glm.VALUE_END), _LINE),
    )


def _tagged(call: Format, required: bool, parallel: bool) -> Format:
    if required:
        return repeated(sequence(const(OPEN), call), "\n", parallel)
    return dispatch([(OPEN, call)], loop=parallel)


Argument = Callable[[Format, Callable[[str], Format]], Format]
"""From a key, and its value between tags of which the last is given, to an argument."""


def _arguments(tool: Mapping[str, Any], argument: Argument) -> list[Format]:
    """Return the formats of a tool's arguments in the schema's order."""
    whole = arguments_schema(tool)
    needed, free = parameter_schemas(tool)
    if not (needed or free) and whole.get("additionalProperties"):
        any_key = {"type": "regex", "pattern": r"[A-Za-z_][A-Za-z0-9_]{0,63}"}
        return [{"type": "star", "content": argument(any_key, _text)}]
    must = {name for name, _ in needed}
    standing = dict([*needed, *free])
    found = []
    for name in whole.get("properties") or {}:
        of = standing[name]
        one = argument(const(name), lambda end, of=of: _value(of, whole, end))  # type: ignore[misc]
        found.append(one if name in must else optional(one))
    return found


def _value(of: Any, root: Mapping[str, Any], end: str) -> Format:
    types = types_of(of, root)
    if types not in (TEXT, PERHAPS):
        return schema(of, BLANKS_IN_CALLS)
    return either([*_texts(of, root, end), *([const("null")] if "null" in types else [])])


def _text(end: str, most: int | None = None) -> Format:
    text: Format = {"type": "any_text", "excludes": [end]}
    return text if most is None else {**text, "max_chars": most}


def _texts(of: Any, root: Mapping[str, Any], end: str, depth: int = 0) -> Iterator[Format]:
    """Yield the formats of the texts that a schema lets through."""
    if not isinstance(of, Mapping) or depth > _DEEPEST or "allOf" in of:
        yield _text(end)
    elif "const" in of or "enum" in of:
        values = [of["const"]] if "const" in of else of["enum"]
        yield from (const(value) for value in values if isinstance(value, str) and end not in value)
    elif "$ref" in of:
        yield from _texts(target_of(of["$ref"], root), root, end, depth + 1)
    elif "anyOf" in of or "oneOf" in of:
        for one in of.get("anyOf") or of["oneOf"]:
            if "string" in types_of(one, root):
                yield from _texts(one, root, end, depth + 1)
    elif isinstance(of.get("pattern"), str) and not _MAY_HOLD_A_TAG.search(of["pattern"].replace("\\.", "")):
        yield {"type": "regex", "pattern": of["pattern"]}
    else:
        yield _bounded(of, end)


def _bounded(of: Mapping[str, Any], end: str) -> Format:
    """Return the format of a text between its bounds; what it must have at least has no ``<`` in it."""
    least, most = of.get("minLength") or 0, of.get("maxLength")
    if not least:
        return _text(end, most)
    first: Format = {"type": "regex", "pattern": f"[^<]{{{least}}}"}
    return sequence(first, _text(end, None if most is None else most - least))
