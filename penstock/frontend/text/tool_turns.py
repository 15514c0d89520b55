"""Tools and calls in conversations: as chat templates take them, and as text for templates that know none.

The text is the form of Hermes and Qwen, which the ``hermes`` parser reads: the tools in ``<tools>`` tags in
the system's message, calls in ``<tool_call>`` tags, results in ``<tool_response>`` tags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]

_PREAMBLE = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def knows(template: str, word: str) -> bool:
    """Say whether a template mentions a word."""
    return re.search(rf"\b{re.escape(word)}\b", template) is not None


def with_objects(message: Mapping[str, Any]) -> Message:
    """Return a message whose calls have their arguments as objects, which templates want; OpenAI has text."""
    return _mapped(message, _object)


def with_text(message: Mapping[str, Any]) -> Message:
    """Return a message whose calls have their arguments as JSON text, for templates that paste them."""
    return _mapped(message, lambda given: given if isinstance(given, str) else _dumps(given))


def with_names(messages: Sequence[Message]) -> list[Message]:
    """Return the messages, results with the name of their tool, which some templates ask for."""
    names: dict[Any, Any] = {}
    found = []
    for message in messages:
        for call in message.get("tool_calls") or ():
            if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
                names[call.get("id")] = call["function"].get("name")
        name = names.get(message.get("tool_call_id")) if message["role"] == "tool" else None
        found.append({"name": name, **message} if name else message)
    return found


def _mapped(message: Mapping[str, Any], convert: Any) -> Message:
    calls = message.get("tool_calls")
    if not isinstance(calls, list | tuple):
        return dict(message)
    return {**message, "tool_calls": [_call_mapped(call, convert) for call in calls]}


def _call_mapped(call: Any, convert: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or "arguments" not in function:
        return call
    return {**call, "function": {**function, "arguments": convert(function["arguments"])}}


def _object(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        value = json.loads(given) if given.strip() else {}
    except (ValueError, RecursionError):
        return given
    return value if isinstance(value, dict) else given


def as_text(
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    template: str,
    *,
    system: bool = True,
) -> list[Message]:
    """Return a conversation for a template that knows no tools.

    Args:
        messages: the conversation.
        tools: OpenAI-style tools to tell the model of.
        template: the template's source; one that speaks of the role ``tool`` keeps it, else results are the
            user's.
        system: tell in the system's message; otherwise in the first one, for templates without that role.
    """
    own_role = re.search(r"""['"]tool['"]""", template) is not None
    told: list[Message] = []
    for message in messages:
        if message["role"] == "tool" and not own_role:
            text = f"<tool_response>\n{message.get('content') or ''}\n</tool_response>"
            if told and told[-1].get("_results"):
                told[-1]["content"] += "\n" + text
            else:
                told.append({"role": "user", "content": text, "_results": True})
        else:
            told.append(_spoken(message))
    told = [{key: value for key, value in message.items() if key != "_results"} for message in told]
    return _introduced(told, tools, system) if tools else told


def _spoken(message: Message) -> Message:
    """Return a message with its calls in its text."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    pieces = [message.get("content") or ""] + [_written(call) for call in calls]
    spoken = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**spoken, "content": "\n".join(piece for piece in pieces if piece)}


def _written(call: Any) -> str:
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    body = _dumps({"name": function.get("name"), "arguments": _object(function.get("arguments", {}))})
    return f"<tool_call>\n{body}\n</tool_call>"


def _introduced(messages: list[Message], tools: Sequence[Mapping[str, Any]], system: bool) -> list[Message]:
    preamble = _PREAMBLE.format(tools="\n".join(_dumps(tool) for tool in tools))
    first = messages[0]
    if first["role"] == "system":
        return [{**first, "content": f"{first.get('content') or ''}\n\n{preamble}".lstrip()}, *messages[1:]]
    if system:
        return [{"role": "system", "content": preamble}, *messages]
    return [{**first, "content": f"{preamble}\n\n{first.get('content') or ''}"}, *messages[1:]]


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
