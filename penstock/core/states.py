"""The life of a sequence: one table of allowed transitions and one function that makes them."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from penstock.core.events import EventSink, Transition


class SeqState(Enum):
    """Where a sequence stands."""

    QUEUED = "queued"
    """Accepted, nothing prepared yet."""
    WAIT_GRAMMAR = "wait_grammar"
    """Its grammar is being compiled."""
    WAIT_KV = "wait_kv"
    """Its KV is on the way from elsewhere."""
    WAIT_ADAPTER = "wait_adapter"
    """Its adapter is being loaded."""
    READY = "ready"
    """Waiting for admission only."""
    RUNNING = "running"
    """Holds a slot and blocks; gets work each step."""
    PREEMPTED = "preempted"
    """Gave its blocks back; will be recomputed."""
    OFFLOADED = "offloaded"
    """Its blocks moved to another tier; will be loaded back."""
    PINNED = "pinned"
    """Idle between turns of its program, blocks kept."""
    FINISHED = "finished"
    """Terminal; exactly one terminal event was emitted."""


_S = SeqState
TRANSITIONS: dict[SeqState, frozenset[SeqState]] = {
    _S.QUEUED: frozenset({_S.WAIT_GRAMMAR, _S.WAIT_KV, _S.WAIT_ADAPTER, _S.READY, _S.FINISHED}),
    _S.WAIT_GRAMMAR: frozenset({_S.WAIT_KV, _S.WAIT_ADAPTER, _S.READY, _S.FINISHED}),
    _S.WAIT_KV: frozenset({_S.WAIT_ADAPTER, _S.READY, _S.FINISHED}),
    _S.WAIT_ADAPTER: frozenset({_S.READY, _S.FINISHED}),
    _S.READY: frozenset({_S.RUNNING, _S.FINISHED}),
    _S.RUNNING: frozenset({_S.PREEMPTED, _S.OFFLOADED, _S.PINNED, _S.FINISHED}),
    _S.PREEMPTED: frozenset({_S.READY, _S.FINISHED}),
    _S.OFFLOADED: frozenset({_S.READY, _S.FINISHED}),
    _S.PINNED: frozenset({_S.RUNNING, _S.PREEMPTED, _S.FINISHED}),
    _S.FINISHED: frozenset(),
}


class Stateful(Protocol):
    """Something that has a state: a sequence."""

    id: str
    state: SeqState


class IllegalTransition(RuntimeError):
    """The scheduler tried to move a sequence along an edge that the table does not have."""


def transition(seq: Stateful, new: SeqState, now: float, sink: EventSink | None) -> None:
    """Move a sequence to a new state and tell the sink.

    Args:
        seq: the sequence; the only place where its state is written.
        new: target state.
        now: engine-clock seconds, stamped on the event.
        sink: receiver of the event, or None.

    Raises:
        IllegalTransition: the table has no such edge.
    """
    old = seq.state
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"{seq.id}: {old.value} -> {new.value}")
    seq.state = new
    if sink is not None:
        sink.emit(Transition(now=now, request_id=seq.id, old=old.value, new=new.value))
