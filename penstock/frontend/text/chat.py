"""Conversation -> prompt text, through the model's chat template or an override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.errors import ConfigError, InvalidRequest
from penstock.frontend.prompts import Chat


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


def render(tokenizer: Any, chat: Chat, template: str | None) -> str:
    """Render a conversation to prompt text (special tokens are written out in it).

    Args:
        tokenizer: a transformers tokenizer.
        chat: the conversation.
        template: Jinja text to use in place of the tokenizer's own.

    Raises:
        InvalidRequest: ``messages`` when there is no template or the template refuses them.
    """
    if template is None and not getattr(tokenizer, "chat_template", None):
        raise InvalidRequest(
            "messages",
            "this model has no chat template; start with --chat-template FILE, or send a plain prompt",
        )
    messages = normalise(chat.messages)
    if chat.continue_final_message and chat.add_generation_prompt:
        raise InvalidRequest(
            "continue_final_message", "expected add_generation_prompt to be false when this is true"
        )
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tools=list(chat.tools) if chat.tools else None,
            chat_template=template,
            add_generation_prompt=chat.add_generation_prompt,
            continue_final_message=chat.continue_final_message,
            tokenize=False,
            **chat.template_kwargs,
        )
    except Exception as error:  # a template is a program of the model's author: anything may come out of it
        raise InvalidRequest("messages", f"the chat template refused them: {error}") from error
    return str(text)
