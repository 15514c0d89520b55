"""How long a chat's prompt is, without asking the engine for anything."""

from __future__ import annotations

from penstock.frontend.prompts import Chat
from penstock.server.asks import Ask
from penstock.server.service import Service


def prompt_tokens(to: Service, ask: Ask) -> int:
    """Return the number of tokens that a chat's prompt has; takes a while for a long one.

    Raises:
        InvalidRequest: the chat template refuses the messages.
    """
    assert isinstance(ask.prompt, Chat)
    text = to.engine.tokenizer.render_chat(ask.prompt)
    return len(to.engine.tokenizer.encode(text, add_special_tokens=False))
