"""Conversation -> prompt text, through the model's chat template or an override."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.core.errors import ConfigError, InvalidRequest
from penstock.frontend.prompts import Chat
from penstock.frontend.text.tool_turns import as_text, knows, with_names, with_objects, with_text


def read_template(path: str) -> str:
    """Return the text of a template file.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "model.chat_template", f"expected a readable Jinja file, got {path!r} ({error})"
        ) from error


def normalise(messages: Any) -> list[dict[str, Any]]:
    """Return the messages with their text parts joined, as chat templates expect them.

    Raises:
        InvalidRequest: no messages, a message that is no object, no role, or content that is not text.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise InvalidRequest("messages", "expected a non-empty list of messages")
    return [_normalise_one(f"messages[{i}]", message) for i, message in enumerate(messages)]


def _normalise_one(field: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidRequest(field, f"expected an object with role and content, got {type(message).__name__}")
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequest(f"{field}.role", "expected a string such as 'system', 'user' or 'assistant'")
    if "content" not in message and not message.get("tool_calls"):
        raise InvalidRequest(f"{field}.content", "expected a string or a list of text parts, got nothing")
    content = message.get("content")
    if isinstance(content, list | tuple):
        content = "".join(_part_text(f"{field}.content[{i}]", part) for i, part in enumerate(content))
    elif content is not None and not isinstance(content, str):
        raise InvalidRequest(
            f"{field}.content", f"expected a string or a list of text parts, got {type(content).__name__}"
        )
    return {**message, "role": role, "content": content}


def _part_text(field: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in ("text", "input_text") or not isinstance(part.get("text"), str):
        raise InvalidRequest(
            field,
            f"expected {{'type': 'text', 'text': ...}}, got type {kind!r}; only text is supported",
        )
    return str(part["text"])


def template_source(tokenizer: Any, template: str | None) -> str:
    """Return the source of the template that `render` uses; of all, where a tokenizer has several by name."""
    found = template if template is not None else getattr(tokenizer, "chat_template", None)
    return "\n".join(map(str, found.values())) if isinstance(found, dict) else str(found or "")


def render(tokenizer: Any, chat: Chat, template: str | None) -> str:
    """Render a conversation to prompt text (special tokens are written out in it).

    A template that knows no tools is told of them in text (`tool_turns`).

    Args:
        tokenizer: a transformers tokenizer.
        chat: the conversation.
        template: Jinja text to use in place of the tokenizer's own.

    Raises:
        InvalidRequest: ``messages`` when there is no template or the template refuses them.
    """
    source = template_source(tokenizer, template)
    if not source:
        raise InvalidRequest(
            "messages",
            "this model has no chat template; start with --chat-template FILE, or send a plain prompt",
        )
    if chat.continue_final_message and chat.add_generation_prompt:
        raise InvalidRequest(
            "continue_final_message", "expected add_generation_prompt to be false when this is true"
        )
    tools = list(chat.tools) if chat.tools and knows(source, "tools") else None
    fault: Exception | None = None
    for messages in _spellings(chat, source):
        try:
            return _apply(tokenizer, chat, template, messages, tools)
        except Exception as error:  # a template is a program of the model's author: anything may come of it
            fault = fault or error
    raise InvalidRequest("messages", f"the chat template refused them: {fault}") from fault


def _apply(tokenizer: Any, chat: Chat, template: str | None, messages: list[Any], tools: Any) -> str:
    text = tokenizer.apply_chat_template(
        messages,
        tools=tools,
        chat_template=template,
        add_generation_prompt=chat.add_generation_prompt,
        continue_final_message=chat.continue_final_message,
        tokenize=False,
        **chat.template_kwargs,
    )
    return str(text)


def _spellings(chat: Chat, source: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the messages in the ways that templates take them; the next one where the last was refused."""
    messages = with_names([with_objects(message) for message in normalise(chat.messages)])
    if not knows(source, "developer"):
        for message in messages:
            message["role"] = "system" if message["role"] == "developer" else message["role"]
    calls = any(message.get("tool_calls") for message in messages)
    if knows(source, "tools"):
        yield messages
        if calls:
            yield [with_text(message) for message in messages]
    elif chat.tools or calls or any(message["role"] == "tool" for message in messages):
        yield as_text(messages, chat.tools, source)
        if chat.tools and messages[0]["role"] != "system":
            yield as_text(messages, chat.tools, source, system=False)
    else:
        yield messages
