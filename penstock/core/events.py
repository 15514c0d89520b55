"""Things worth telling an observer; the brain emits them and never looks back."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Transition(msgspec.Struct, frozen=True, gc=False):
    """A sequence changed state at ``now`` (engine-clock seconds)."""

    now: float
    request_id: str
    old: str
    new: str


class EventSink(Protocol):
    """Receiver of events; must neither block nor raise."""

    def emit(self, event: Transition) -> None:
        """Take note of one event."""
        ...
