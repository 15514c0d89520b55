"""`ResponsesWriter`: tells an answer as a response object and, where streamed, as its events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from penstock.core.output import FinishReason
from penstock.frontend.answers.segments import Change, Closed, Opened, Reads, Segment, Segments
from penstock.frontend.outputs import CompletionOutput, RequestOutput, TokenLogprob, Usage
from penstock.server.errors import APIError
from penstock.server.feed import Batch
from penstock.server.responses.objects import item_id, item_of, part_of, usage_of
from penstock.server.schemas import replies
from penstock.server.schemas import response_events as events
from penstock.server.schemas.response_reply import IncompleteDetails, Response, ResponseFault
from penstock.server.writing import scored


class ResponsesWriter:
    """Follows one response from its first news to its terminal event.

    Args:
        response: as it is before its first news.
        reader: of the answer, not yet used.
        streamed: whether events are wanted; without, only the response is kept up to date.
        changed: called with each change of the response's status, its first and its last one included.
    """

    def __init__(
        self,
        response: Response,
        reader: Reads,
        streamed: bool,
        changed: Callable[[Response, list[Segment]], None],
    ) -> None:
        self.response = response
        self.segments = Segments(reader)
        self._changed = changed
        self._streamed = streamed
        self._key = response.id.removeprefix("resp_")
        self._sent: list[bytes] = []
        self._sequence = 0
        self._begun = False
        self._last: CompletionOutput | None = None

    def news(self, batch: Batch, usage: Usage) -> bytes:
        """Return the events of deltas."""
        for _, output in batch:
            self.push(output)
        return b"".join(self.take())

    def end(self, usage: Usage) -> bytes:
        """Return the terminal event of an answer that came to its end."""
        self.finish(usage)
        return b"".join(self.take())

    def failure(self, error: APIError) -> bytes:
        """Return the terminal event of an answer that cannot go on."""
        self.fail(error)
        return b"".join(self.take())

    def take(self) -> list[bytes]:
        """Return the events that were not taken yet, framed."""
        taken, self._sent = self._sent, []
        return taken

    def queue(self) -> None:
        """Say that the response exists and waits; for those in the background."""
        self._state("queued")
        self._about(events.Created)
        self._about(events.Queued)

    def begin(self) -> None:
        """Say that the response is being generated; idempotent."""
        if self._begun:
            return
        self._begun = True
        first = self.response.status != "queued"
        self._state("in_progress")
        if first:
            self._about(events.Created)
        self._about(events.InProgress)

    def push(self, output: RequestOutput) -> None:
        """Take a delta of the answer."""
        self.begin()
        for out in output.outputs:
            self._tell(self.segments.push(out))
            if out.finish_reason is not None:
                self._last = out

    def finish(self, usage: Usage) -> None:
        """Close the response after its last delta."""
        self.begin()
        if not self.segments.all:  # the model had nothing to say, and says so in a message
            empty = Segment(0, "text", complete=True)
            self.segments.all.append(empty)
            self._tell([Opened(empty), Closed(empty)])
        cut = self._last is not None and self._last.finish_reason is FinishReason.LENGTH
        self._state(
            "incomplete" if cut else "completed",
            output=self._items(),
            usage=usage_of(usage, self.segments.reasoning_tokens),
            incomplete_details=IncompleteDetails("max_output_tokens") if cut else None,
            completed_at=None if cut else int(time.time()),
        )
        self._about(events.Incomplete if cut else events.Completed)

    def fail(self, error: APIError) -> None:
        """Close the response with what went wrong."""
        self.begin()
        fault = ResponseFault("rate_limit_exceeded" if error.status == 429 else "server_error", error.message)
        self._state("failed", output=self._items(), error=fault)
        self._about(events.Failed)

    def cancel(self) -> None:
        """Close the response because the client wants no more of it."""
        self._state("cancelled", output=self._items())
        self._about(events.Incomplete)

    def _items(self) -> list[Any]:
        return [item_of(segment, self._key) for segment in self.segments.all]

    def _state(self, status: str, **more: Any) -> None:
        self.response = msgspec.structs.replace(self.response, status=status, **more)
        self._changed(self.response, self.segments.all)

    def _tell(self, changes: Iterable[Change]) -> None:
        if not self._streamed:
            return
        for change in changes:
            if isinstance(change, Opened):
                self._open(change.segment)
            elif isinstance(change, Closed):
                self._close(change.segment)
            else:
                self._grow(change.segment, change.text, change.logprobs)

    def _open(self, segment: Segment) -> None:
        item = item_of(segment, self._key, opening=True)
        self._emit(events.ItemAdded, output_index=segment.index, item=item)
        if segment.kind != "call":
            self._emit(events.PartAdded, **self._at(segment), part=part_of(segment, empty=True))

    def _grow(self, segment: Segment, text: str, logprobs: Iterable[TokenLogprob]) -> None:
        at = self._at(segment)
        if segment.kind == "text":
            scores = [scored(entry) for entry in logprobs]
            self._emit(events.TextDelta, **at, delta=text, logprobs=scores)
        elif segment.kind == "reasoning":
            self._emit(events.ReasoningDelta, **at, delta=text)
        else:
            self._emit(events.ArgumentsDelta, **at, delta=text)

    def _close(self, segment: Segment) -> None:
        at, text = self._at(segment), segment.text
        if segment.kind == "text":
            scores = [scored(entry) for entry in segment.logprobs]
            self._emit(events.TextDone, **at, text=text, logprobs=scores)
        elif segment.kind == "reasoning":
            self._emit(events.ReasoningDone, **at, text=text)
        else:
            self._emit(events.ArgumentsDone, **at, name=segment.name, arguments=text)
        if segment.kind != "call":
            self._emit(events.PartDone, **at, part=part_of(segment))
        self._emit(events.ItemDone, output_index=segment.index, item=item_of(segment, self._key))

    def _at(self, segment: Segment) -> dict[str, Any]:
        return {"item_id": item_id(segment, self._key), "output_index": segment.index}

    def _about(self, kind: type[events.Event]) -> None:
        self._emit(kind, response=self.response)

    def _emit(self, kind: type[events.Event], **fields: Any) -> None:
        if not self._streamed:
            return
        told = kind(sequence_number=self._sequence, **fields)
        self._sequence += 1
        name = str(kind.__struct_config__.tag).encode()
        self._sent.append(b"event: " + name + b"\ndata: " + replies.encode(told) + b"\n\n")
