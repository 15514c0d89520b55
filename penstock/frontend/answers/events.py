"""The news of an answer as every endpoint's writer reads it."""

from __future__ import annotations

import msgspec


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    """More of the answer's visible text."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning"):
    """More of what the model thinks before it answers."""

    text: str


class ToolCallStart(msgspec.Struct, frozen=True, tag="call_start"):
    """A tool call begins; its name is known."""

    call: int
    """0, 1, 2... in the order of the answer."""
    id: str
    """Unique id of the call, ``call_...``."""
    name: str


class ToolCallArguments(msgspec.Struct, frozen=True, tag="call_arguments"):
    """More of a call's arguments: a piece of JSON text. All pieces joined are one JSON object."""

    call: int
    text: str


class ToolCallEnd(msgspec.Struct, frozen=True, tag="call_end"):
    """The call is complete."""

    call: int


AnswerEvent = TextDelta | ReasoningDelta | ToolCallStart | ToolCallArguments | ToolCallEnd
