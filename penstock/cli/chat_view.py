"""How a reply is shown in the terminal: text as it is, reasoning dimmed, calls in one line each."""

from __future__ import annotations

from penstock.frontend.answers.events import (
    AnswerEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)

_DIM, _PLAIN = "\x1b[2m", "\x1b[22m"


class View:
    """Turns a reply's events into what is printed.

    Args:
        styled: the output is a terminal; elsewhere reasoning is left out: a pipe gets the reply alone.
    """

    def __init__(self, styled: bool) -> None:
        self._styled = styled
        self._dim = False
        self._shown = False
        self._in_call = False

    def show(self, event: AnswerEvent) -> str:
        """Return what an event adds to the output."""
        if isinstance(event, ReasoningDelta):
            return self._reasoning(event.text)
        if isinstance(event, TextDelta):
            lead = self._after_reasoning() + self._after_call()
            return lead + ("\n" if lead == ")" else "") + self._text(event.text)
        if isinstance(event, ToolCallStart):
            lead = self._after_reasoning() + self._after_call()
            line = "\n" if self._shown else ""
            self._in_call = True
            return lead + line + self._text(f"-> {event.name}(")
        if isinstance(event, ToolCallArguments):
            return event.text
        return self._after_call()

    def end(self) -> str:
        """Return what ends the output, whatever was cut off."""
        return self._after_call() + (_PLAIN if self._dim else "")

    def _after_call(self) -> str:
        """Close a call; servers do not say that one is complete."""
        end = ")" if self._in_call else ""
        self._in_call = False
        return end

    def _reasoning(self, text: str) -> str:
        if not self._styled:
            return ""
        begin = "" if self._dim else _DIM
        self._dim = True
        return begin + text

    def _after_reasoning(self) -> str:
        if not self._dim:
            return ""
        self._dim = False
        return f"{_PLAIN}\n\n"

    def _text(self, text: str) -> str:
        self._shown = True
        return text
