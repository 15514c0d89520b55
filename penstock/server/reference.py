"""The page at ``/docs``: the description of the API as plain HTML that needs nothing from elsewhere.

Swagger's page loads its scripts from a CDN, which a machine without internet does not reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem}
code{font:.9em ui-monospace,monospace}
summary{padding:.3rem 0;cursor:pointer}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.5rem 0 1rem}
th,td{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #8884}
"""
_NUMBERS = (("minimum", "≥ "), ("maximum", "≤ "), ("exclusiveMinimum", "> "), ("exclusiveMaximum", "< "))
_LENGTHS = (("minLength", "at least", "characters"), ("maxLength", "at most", "characters"),
            ("minItems", "at least", "items"), ("maxItems", "at most", "items"))  # fmt: skip


def page(description: Json) -> str:
    """Return the page.

    Args:
        description: of the API, as OpenAPI has it.
    """
    info = description["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}: endpoints"
    body = "".join(_groups(description))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<main><h1>{title}</h1><p>The same for machines: <a href="openapi.json">openapi.json</a></p>'
        f"{body}</main></body></html>"
    )


def _groups(description: Json) -> Iterator[str]:
    groups: dict[str, list[tuple[str, str, Json]]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append((method, path, operation))
    schemas = description["components"]["schemas"]
    for tag, operations in groups.items():
        yield f"<h2>{escape(tag)}</h2>"
        for method, path, operation in operations:
            yield from _operation(method, path, operation, schemas)
    yield "<h2>types</h2>"
    for name, of in schemas.items():
        if of.get("properties"):
            yield f"<details><summary><code>{escape(_short(name))}</code></summary>{_fields(of)}</details>"


def _operation(method: str, path: str, operation: Json, schemas: Json) -> Iterator[str]:
    yield f"<details><summary><code>{method.upper()} {escape(path)}</code> "
    yield f"{escape(operation.get('summary', ''))}</summary>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    rows = [(one["name"], one["in"], _kind(one["schema"]), one.get("description", ""))
            for one in operation.get("parameters", ())]  # fmt: skip
    if rows:
        yield _table(("parameter", "in", "type", "meaning"), rows)
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    for of in _alternatives(content["schema"] if content else None):
        yield f"<h3>{escape(_kind(of))}</h3>{_fields(_resolved(of, schemas))}"
    statuses = ", ".join(
        f"{code} {reply.get('description', '')}" for code, reply in operation["responses"].items()
    )
    yield f"<p>Answers: {escape(statuses)}</p></details>"


def _fields(of: Json) -> str:
    needed = of.get("required", ())
    rows = [
        (f"{name}{' (needed)' if name in needed else ''}", _kind(one), one.get("description", ""))
        for name, one in of.get("properties", {}).items()
    ]
    return _table(("field", "type", "meaning"), rows)


def _alternatives(of: Json | None) -> list[Json]:
    return [] if of is None else list(of.get("oneOf") or of.get("anyOf") or [of])


def _resolved(of: Json, schemas: Json) -> Json:
    found: Json = schemas.get(of.get("$ref", "").rpartition("/")[2], of)
    return found


def _short(name: str) -> str:
    """Return a type's name without the module that tells it from its namesakes."""
    return name.rpartition("__")[2]


def _kind(of: Json) -> str:
    """Return a type in words, with its bounds; references by their name."""
    if "$ref" in of:
        return _short(str(of["$ref"]).rpartition("/")[2])
    if "const" in of or "enum" in of:
        return " | ".join(repr(value) for value in of.get("enum", [of.get("const")]))
    parts = [one for key in ("anyOf", "oneOf") for one in of.get(key, ())]
    if parts:
        return " | ".join(dict.fromkeys(_kind(one) for one in parts))
    name = str(of.get("type", "any"))
    if name == "array":
        items = of.get("items")
        inside = [items] if isinstance(items, dict) else of.get("prefixItems", ())
        name = f"list of {', '.join(_kind(one) for one in inside) or 'any'}"
    bounds = [f"{sign}{of[key]}" for key, sign in _NUMBERS if key in of]
    bounds += [f"{word} {of[key]} {what}" for key, word, what in _LENGTHS if key in of]
    return name + (f" ({', '.join(bounds)})" if bounds else "")


def _table(heads: tuple[str, ...], rows: list[Any]) -> str:
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    cells = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>'
