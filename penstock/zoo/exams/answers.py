"""Who sits an exam: something that answers conversations, whatever runs the model behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Message = Mapping[str, Any]
"""A chat message in the OpenAI form."""

MAX_TOKENS = 640
"""Most tokens of an answer; the longest references (eight steps, a count to 120) take just under 600."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a model is shown before it answers.

    Attributes:
        messages: in the OpenAI form; the last is a person's or a tool's.
        tools: OpenAI function tools that are offered.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answered.

    Attributes:
        text: the answer without control tokens.
        stopped: whether it ended by itself.
        tokens: how many there are, the end not counted.
        prompt_ids: the prompt in tokens, as the model saw it.
        ids: the answer in tokens; the end token is the last of a stopped one.
    """

    text: str
    stopped: bool
    tokens: int
    prompt_ids: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()


class Answerer(Protocol):
    """A model that can be asked; greedy, so that asking twice gives the same."""

    name: str
    """Of the model: its folder's."""
    context: int
    """Most tokens of prompt and answer together."""

    def reply(self, dialogues: Sequence[Dialogue], max_tokens: int = MAX_TOKENS) -> list[Reply]:
        """Answer every dialogue, in order; an answer is cut where the context ends.

        A prompt that leaves no room for an answer gets an empty one that did not stop.
        """
        ...

    def first_choices(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[bool]]:
        """Return, per (prompt, answer) in tokens and per answer token, whether the model would choose it too.

        Every token is judged after the true ones before it, as a verifier of drafts does.
        """
        ...

    def close(self) -> None:
        """Release the model."""
        ...
