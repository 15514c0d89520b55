"""Items of the input of ``POST /v1/responses``: messages, calls, their outputs, reasoning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from penstock.server.schemas.base import Body
from penstock.server.schemas.single import kind_of, refuse

Id = Annotated[str, Field(min_length=1, max_length=256)]

_PARTS = {"input_text": "Text", "output_text": "Text", "text": "Text", "refusal": "Refusal"}
_ITEMS = {
    "message": "Message",
    "function_call": "Call",
    "function_call_output": "CallOutput",
    "reasoning": "Reasoning",
}


class TextPart(Body):
    """A piece of text, the client's or the model's."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class RefusalPart(Body):
    """A refusal of an earlier answer; to the model it is text like any other."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """The text."""
        return self.refusal


class UnservedPart(Body):
    """An image, a file, audio: the served models read text only."""

    type: Annotated[Any, refuse("content parts", ("input_text", "output_text", "refusal"))]


Part = Annotated[
    Annotated[TextPart, Tag("Text")]
    | Annotated[RefusalPart, Tag("Refusal")]
    | Annotated[UnservedPart, Tag("Unserved")],
    Discriminator(kind_of(_PARTS)),
]
Content = str | list[Part]


class MessageItem(Body):
    """A turn of the conversation, in the short form or as an earlier answer had it."""

    type: Literal["message"] = "message"
    id: Id | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    status: str | None = None


class CallItem(Body):
    """A call that the model made in an earlier answer."""

    type: Literal["function_call"]
    id: Id | None = None
    call_id: Id
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str
    status: str | None = None


class CallOutputItem(Body):
    """What came out of a call."""

    type: Literal["function_call_output"]
    id: Id | None = None
    call_id: Id
    output: Content
    status: str | None = None


class ReasoningText(Body):
    """A piece of reasoning or of its summary."""

    type: Literal["reasoning_text", "summary_text", "text"]
    text: str


class ReasoningItem(Body):
    """What the model thought in an earlier answer."""

    type: Literal["reasoning"]
    id: Id | None = None
    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None
    status: str | None = None

    @property
    def text(self) -> str:
        """The thoughts; their summary where they themselves are not there."""
        return "".join(part.text for part in self.content or self.summary or ())


class UnservedItem(Body):
    """An item of a tool that runs at OpenAI, a reference, or something newer than this server."""

    type: Annotated[Any, refuse("items", _ITEMS)]


Item = Annotated[
    Annotated[MessageItem, Tag("Message")]
    | Annotated[CallItem, Tag("Call")]
    | Annotated[CallOutputItem, Tag("CallOutput")]
    | Annotated[ReasoningItem, Tag("Reasoning")]
    | Annotated[UnservedItem, Tag("Unserved")],
    Discriminator(kind_of(_ITEMS, default="message")),
]
"""An item; what names no type is a message."""


def text_of(content: Content) -> str:
    """Return the text of a message's or an output's content."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if not isinstance(part, UnservedPart))
