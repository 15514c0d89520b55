"""Content blocks of ``POST /v1/messages``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from penstock.server.schemas.base import Body
from penstock.server.schemas.single import kind_of, refuse

Id = Annotated[str, Field(min_length=1, max_length=256)]

_BLOCKS = {
    "text": "Text",
    "thinking": "Thinking",
    "redacted_thinking": "Redacted",
    "tool_use": "Use",
    "tool_result": "Result",
}


class TextBlock(Body):
    """A piece of text."""

    type: Literal["text"]
    text: str


class UnservedBlock(Body):
    """An image, a document, a block of a tool that runs elsewhere."""

    type: Annotated[Any, refuse("content blocks", _BLOCKS)]


class UnservedText(Body):
    """Something other than text where the served models read text only."""

    type: Annotated[Any, refuse("content blocks", ("text",))]


OnlyText = Annotated[
    Annotated[TextBlock, Tag("Text")] | Annotated[UnservedText, Tag("Unserved")],
    Discriminator(kind_of({"text": "Text"})),
]


class ThinkingBlock(Body):
    """What the model thought in an earlier turn."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedBlock(Body):
    """Thoughts that nobody here can read; they are left out."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(Body):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: Id
    name: Id
    input: dict[str, Any]


class ToolResultBlock(Body):
    """What came out of a call."""

    type: Literal["tool_result"]
    tool_use_id: Id
    content: str | list[OnlyText] | None = None
    is_error: bool | None = None

    @property
    def text(self) -> str:
        """The result as text."""
        return joined(self.content or "", "")


Block = Annotated[
    Annotated[TextBlock, Tag("Text")]
    | Annotated[ThinkingBlock, Tag("Thinking")]
    | Annotated[RedactedBlock, Tag("Redacted")]
    | Annotated[ToolUseBlock, Tag("Use")]
    | Annotated[ToolResultBlock, Tag("Result")]
    | Annotated[UnservedBlock, Tag("Unserved")],
    Discriminator(kind_of(_BLOCKS)),
]


def joined(content: str | list[OnlyText], between: str) -> str:
    """Return the text of content that is text only."""
    if isinstance(content, str):
        return content
    return between.join(block.text for block in content if isinstance(block, TextBlock))
