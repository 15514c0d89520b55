"""``truncation: auto``: drops the oldest turns of a conversation that does not fit the context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from penstock.server.turns import Message


def fitted(
    messages: Sequence[Message], limit: int, count: Callable[[Sequence[Message]], int]
) -> list[Message]:
    """Return the messages without the fewest of the oldest turns that makes them fit.

    A turn begins with the user and goes with all that answers it: calls never lose their outputs. What the
    system says at the head is kept, and so is the last turn, which may be too long by itself.

    Args:
        messages: the conversation.
        limit: most tokens of its prompt.
        count: returns the tokens of the prompt of messages; costs a rendering each time.
    """
    head = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    starts = [i for i, message in enumerate(messages) if message["role"] == "user" and i > head]
    shorter = [list(messages), *([*messages[:head], *messages[start:]] for start in starts)]
    found = bisect_left(shorter, True, key=lambda some: count(some) <= limit)
    return shorter[min(found, len(shorter) - 1)]


def room(context: int, asked: int | None) -> int:
    """Return the tokens that a prompt may have, where the answer is to have room as well.

    Args:
        context: the model's context length.
        asked: tokens that the answer may have; None leaves it an eighth of the context.
    """
    return max(1, context - (asked if asked is not None else context // 8))
