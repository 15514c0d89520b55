"""`MessagesWriter`: tells an answer as a message and, where streamed, as its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

from penstock.core.output import FinishReason
from penstock.frontend.answers.segments import Change, Closed, Opened, Reads, Segment, Segments
from penstock.frontend.outputs import CompletionOutput, Usage
from penstock.server.errors import APIError
from penstock.server.feed import Batch
from penstock.server.schemas import message_reply as told
from penstock.server.schemas import replies


class MessagesWriter:
    """Follows one answer from its first news to its terminal event.

    Args:
        message_id: ``msg_...``.
        model: served name.
        reader: of the answer, not yet used.
    """

    def __init__(self, message_id: str, model: str, reader: Reads) -> None:
        self._id = message_id
        self._model = model
        self._segments = Segments(reader)
        self._begun = False
        self._last: CompletionOutput | None = None

    def news(self, batch: Batch, usage: Usage) -> bytes:
        """Return the events of deltas."""
        events: list[told.Event] = []
        if not self._begun:
            self._begun = True
            events += [told.MessageStart(self._message([], usage, None)), told.Ping()]
        for _, output in batch:
            for out in output.outputs:
                events += map(_event, self.push(out))
        return _frames(events)

    def push(self, out: CompletionOutput) -> list[Change]:
        """Take a delta of the answer."""
        if out.finish_reason is not None:
            self._last = out
        return self._segments.push(out)

    def end(self, usage: Usage) -> bytes:
        """Return the last events of an answer that came to its end."""
        stop = self._stop()
        return _frames([told.MessageDelta(stop, self._usage(usage)), told.MessageStop()])

    def failure(self, error: APIError) -> bytes:
        """Return the terminal event of an answer that cannot go on."""
        return b"event: error\ndata: " + error.anthropic() + b"\n\n"

    def whole(self, usage: Usage) -> bytes:
        """Return the message, after its last delta."""
        blocks = [block_of(segment) for segment in self._segments.all]
        return replies.encode(self._message(blocks, usage, self._stop()))

    def _message(self, blocks: list[told.Block], usage: Usage, stop: told.Stop | None) -> told.MessageReply:
        return told.MessageReply(
            id=self._id,
            model=self._model,
            content=blocks,
            stop_reason=stop.stop_reason if stop is not None else None,
            stop_sequence=stop.stop_sequence if stop is not None else None,
            usage=self._usage(usage),
        )

    def _usage(self, usage: Usage) -> told.Usage:
        return told.Usage(
            input_tokens=usage.prompt_tokens - usage.cached_tokens,
            cache_read_input_tokens=usage.cached_tokens,
            output_tokens=usage.completion_tokens,
            output_tokens_details=told.ThinkingCount(self._segments.reasoning_tokens),
        )

    def _stop(self) -> told.Stop:
        last = self._last
        if last is not None and last.finish_reason is FinishReason.LENGTH:
            return told.Stop("max_tokens", None)
        if last is not None and isinstance(last.stop_reason, str):
            return told.Stop("stop_sequence", last.stop_reason)
        return told.Stop("tool_use" if self._segments.called else "end_turn", None)


def block_of(segment: Segment) -> told.Block:
    """Return a segment as a content block; of a call that was cut off, what of its input is there."""
    if segment.kind == "text":
        return told.Text(segment.text)
    if segment.kind == "reasoning":
        return told.Thinking(segment.text)
    return told.ToolUse(segment.call_id, segment.name, _input(segment.text))


def _input(arguments: str) -> dict[str, Any]:
    try:
        value = from_json(arguments or "{}", allow_partial=True)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _event(change: Change) -> told.Event:
    segment = change.segment
    if isinstance(change, Opened):
        return told.BlockStart(segment.index, _empty(segment))
    if isinstance(change, Closed):
        return told.BlockStop(segment.index)
    if segment.kind == "text":
        return told.BlockDelta(segment.index, told.TextDelta(change.text))
    if segment.kind == "reasoning":
        return told.BlockDelta(segment.index, told.ThinkingDelta(change.text))
    return told.BlockDelta(segment.index, told.InputDelta(change.text))


def _empty(segment: Segment) -> told.Block:
    if segment.kind == "text":
        return told.Text("")
    if segment.kind == "reasoning":
        return told.Thinking("")
    return told.ToolUse(segment.call_id, segment.name, {})


def _frames(events: Iterable[told.Event]) -> bytes:
    frames = []
    for event in events:
        name = str(type(event).__struct_config__.tag).encode()
        frames.append(b"event: " + name + b"\ndata: " + replies.encode(event) + b"\n\n")
    return b"".join(frames)
