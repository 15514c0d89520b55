"""What ``/v1/messages`` answers with: the message, its blocks, the events of its stream, errors."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class Text(Struct, frozen=True, tag_field="type", tag="text"):
    """What the model said."""

    text: str
    citations: None = None


class Thinking(Struct, frozen=True, tag_field="type", tag="thinking"):
    """What the model thought. It is not signed: nothing checks it when it comes back."""

    thinking: str
    signature: str = ""


class ToolUse(Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A call that the client is to make."""

    id: str
    name: str
    input: dict[str, Any]


Block = Text | Thinking | ToolUse


class ThinkingCount(Struct, frozen=True):
    """What output tokens became."""

    thinking_tokens: int


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts; the prompt has ``input_tokens`` and ``cache_read_input_tokens`` together."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: ThinkingCount | UnsetType = UNSET


class MessageReply(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A whole answer, or its beginning."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[Block]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    usage: Usage


class MessageStart(Struct, frozen=True, tag_field="type", tag="message_start"):
    """The answer begins."""

    message: MessageReply


class Ping(Struct, frozen=True, tag_field="type", tag="ping"):
    """Nothing; the connection lives."""


class BlockStart(Struct, frozen=True, tag_field="type", tag="content_block_start"):
    """A block begins; it is empty."""

    index: int
    content_block: Block


class TextDelta(Struct, frozen=True, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(Struct, frozen=True, tag_field="type", tag="thinking_delta"):
    """More thoughts."""

    thinking: str


class InputDelta(Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    """More of a call's input, as JSON text."""

    partial_json: str


class BlockDelta(Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """A block goes on."""

    index: int
    delta: TextDelta | ThinkingDelta | InputDelta


class BlockStop(Struct, frozen=True, tag_field="type", tag="content_block_stop"):
    """A block is over."""

    index: int


class Stop(Struct, frozen=True):
    """Why the answer ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(Struct, frozen=True, tag_field="type", tag="message_delta"):
    """The answer ended."""

    delta: Stop
    usage: Usage


class MessageStop(Struct, frozen=True, tag_field="type", tag="message_stop"):
    """The stream ended. Terminal."""


class Fault(Struct, frozen=True):
    """What went wrong, in Anthropic's form."""

    type: str
    message: str


class MessageError(Struct, frozen=True, tag_field="type", tag="error"):
    """Body of answers that are errors, and the terminal event of a stream that cannot go on."""

    error: Fault


class MessageTokens(Struct, frozen=True):
    """How long a conversation is."""

    input_tokens: int


Event = MessageStart | Ping | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | MessageError
EVENTS = (MessageStart, Ping, BlockStart, BlockDelta, BlockStop, MessageDelta, MessageStop)
