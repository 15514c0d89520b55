"""Events of a streamed response, in the order in which `penstock.server.responses.writer` sends them."""

from __future__ import annotations

from msgspec import Struct

from penstock.server.schemas.replies import TokenLogprob
from penstock.server.schemas.response_reply import OutputItem, OutputText, ReasoningText, Response


class Event(Struct, frozen=True, kw_only=True, tag_field="type"):
    """Whatever is sent; the tag is its name."""

    sequence_number: int
    """0, 1, 2... in the stream."""


class _About(Event, frozen=True, kw_only=True, tag_field="type"):
    response: Response


class Created(_About, frozen=True, kw_only=True, tag="response.created"):
    """The response exists."""


class Queued(_About, frozen=True, kw_only=True, tag="response.queued"):
    """It waits, in the background."""


class InProgress(_About, frozen=True, kw_only=True, tag="response.in_progress"):
    """It is being generated."""


class Completed(_About, frozen=True, kw_only=True, tag="response.completed"):
    """It is whole. Terminal."""


class Incomplete(_About, frozen=True, kw_only=True, tag="response.incomplete"):
    """It was cut off, by a limit or by being cancelled. Terminal."""


class Failed(_About, frozen=True, kw_only=True, tag="response.failed"):
    """It cannot go on. Terminal."""


class _OfItem(Event, frozen=True, kw_only=True, tag_field="type"):
    output_index: int
    item: OutputItem


class ItemAdded(_OfItem, frozen=True, kw_only=True, tag="response.output_item.added"):
    """An item begins."""


class ItemDone(_OfItem, frozen=True, kw_only=True, tag="response.output_item.done"):
    """An item is over."""


class _InItem(Event, frozen=True, kw_only=True, tag_field="type"):
    item_id: str
    output_index: int


class _OfPart(_InItem, frozen=True, kw_only=True, tag_field="type"):
    content_index: int = 0
    part: OutputText | ReasoningText


class PartAdded(_OfPart, frozen=True, kw_only=True, tag="response.content_part.added"):
    """A part of an item begins."""


class PartDone(_OfPart, frozen=True, kw_only=True, tag="response.content_part.done"):
    """A part of an item is over."""


class TextDelta(_InItem, frozen=True, kw_only=True, tag="response.output_text.delta"):
    """More text."""

    content_index: int = 0
    delta: str
    logprobs: list[TokenLogprob]


class TextDone(_InItem, frozen=True, kw_only=True, tag="response.output_text.done"):
    """The whole text."""

    content_index: int = 0
    text: str
    logprobs: list[TokenLogprob]


class ReasoningDelta(_InItem, frozen=True, kw_only=True, tag="response.reasoning_text.delta"):
    """More reasoning."""

    content_index: int = 0
    delta: str


class ReasoningDone(_InItem, frozen=True, kw_only=True, tag="response.reasoning_text.done"):
    """The whole reasoning."""

    content_index: int = 0
    text: str


class ArgumentsDelta(_InItem, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"):
    """More of a call's arguments."""

    delta: str


class ArgumentsDone(_InItem, frozen=True, kw_only=True, tag="response.function_call_arguments.done"):
    """A call's whole arguments."""

    name: str
    arguments: str


EVENTS = (
    *(Created, Queued, InProgress, ItemAdded, PartAdded, TextDelta, TextDone, ReasoningDelta, ReasoningDone),
    *(ArgumentsDelta, ArgumentsDone, PartDone, ItemDone, Completed, Incomplete, Failed),
)
