"""Tools, calls and results as the zoo's models read and write them: plain text, the form of Hermes.

The chat template (`tokenizer.CHAT_TEMPLATE`) says the same in Jinja; a test compares the two.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TOOLS_HEAD = "You can call these tools:"
"""The line over the offered tools."""


def tools_text(tools: Iterable[Mapping[str, Any]]) -> str:
    """Return the lines that offer ``tools`` (OpenAI function tools): name, description, parameters.

    A parameter's kind is one word, with ``?`` behind it where it may be left out.
    """
    return "\n".join([TOOLS_HEAD, *(_line(tool.get("function") or tool) for tool in tools)])


def _line(tool: Mapping[str, Any]) -> str:
    schema = tool.get("parameters") or {}
    required = schema.get("required") or []
    parameters = {
        name: _kind(of) + ("" if name in required else "?")
        for name, of in (schema.get("properties") or {}).items()
    }
    about = str(tool.get("description") or "").strip()
    line = {"name": tool["name"], **({"description": about} if about else {}), "parameters": parameters}
    return _dumps(line)


def _kind(of: Any) -> str:
    schema = of if isinstance(of, Mapping) else {}
    kind, items = schema.get("type"), schema.get("items")
    if schema.get("enum"):
        return "|".join(map(str, schema["enum"]))
    if kind == "array" and isinstance(items, Mapping) and isinstance(items.get("type"), str):
        return f"{items['type']}[]"
    if isinstance(kind, str):
        return kind
    return "|".join(kind) if kind else "any"


def call_text(name: str, arguments: Mapping[str, Any] | str) -> str:
    """Return one call as the assistant writes it; ``arguments`` as an object or as JSON text."""
    given = arguments if isinstance(arguments, str) else _dumps(arguments)
    return f'<tool_call>\n{{"name": {_dumps(name)}, "arguments": {given}}}\n</tool_call>'


def assistant_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message: its content, then its ``tool_calls`` (OpenAI form), a line each."""
    content = str(message.get("content") or "").strip()
    calls = [call.get("function") or call for call in message.get("tool_calls") or ()]
    texts = [call_text(call["name"], call.get("arguments") or {}) for call in calls]
    return "\n".join([content, *texts] if content else texts)


def calls_of(text: str) -> Sequence[tuple[str, dict[str, Any]]] | None:
    """Return name and arguments of the calls in an answer; None where a call is broken."""
    found = []
    for piece in text.split("<tool_call>")[1:]:
        body, closed, _ = piece.partition("</tool_call>")
        try:
            call = json.loads(body)
            found.append((str(call["name"]), dict(call["arguments"])))
        except (ValueError, KeyError, TypeError):
            return None
        if not closed:
            return None
    return found


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
