"""What the engine tells the outside about a request: token deltas and exactly one terminal event."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from penstock.core.plan import Pooled, TokenLogprobs


class FinishReason(StrEnum):
    """Why a request ended; every request ends with exactly one of them."""

    STOP = "stop"
    """An eos or stop id was generated, or the frontend found a stop string."""
    LENGTH = "length"
    """max_tokens or the context length was reached."""
    ABORT = "abort"
    """Cancelled; `Finish.detail` is client, deadline, shutdown or overload."""
    ERROR = "error"
    """The request failed; `Finish.detail` says how."""


UNSATISFIABLE = "unsatisfiable: "
"""Begins the `Finish.detail` of an error that the request itself brought about: no engine could answer it."""


class Timeline(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Engine-clock seconds of a request's milestones; 0 where not reached."""

    arrival: float = 0.0
    first_scheduled: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0
    finished: float = 0.0
    preempted: tuple[float, ...] = ()
    """Each time that it lost its memory, the first ones."""


class Finish(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The terminal event of a request."""

    reason: FinishReason
    detail: str = ""
    stop_token: int | None = None
    """The eos or stop id that ended it (also the last of the output's tokens)."""
    timeline: Timeline = Timeline()
    preemptions: int = 0


class Output(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """News of one request after one step."""

    request_id: str
    tokens: tuple[int, ...] = ()
    """Newly committed tokens, in order."""
    finish: Finish | None = None
    """Set on the last output of the request and only there."""
    cached_tokens: int = 0
    """Prompt tokens taken from the prefix cache at first admission."""
    logprobs: tuple[TokenLogprobs, ...] | None = None
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None
    """Newly scored prompt tokens, in order (the first prompt token has no score and is left out)."""
    pooled: Pooled | None = None
    """Newly pooled prompt tokens; a preempted prompt is pooled anew from its start."""


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot for metrics; every figure is kept incrementally, none by scanning a queue."""

    running: int
    waiting: int
    blocks_total: int
    blocks_free: int
    """Blocks in no use at all."""
    blocks_reclaimable: int
    """Blocks that hold cached prefixes nobody is using."""
    prefix_query_tokens: int
    prefix_hit_tokens: int
    prompt_tokens: int
    """Prompt tokens computed (prefix hits left out, recomputation after preemption counted)."""
    generated_tokens: int
    preemptions: int
    recomputed_tokens: int
    steps: int
    submitted: int
    finished: dict[str, int]
    """Terminal events by reason."""
    waiting_by_reason: dict[str, int]
    """Admission attempts that were blocked, by the resource that was short."""
    blocks_pinned: int = 0
    """Blocks kept for programs and groups that are expected back, whether or not a sequence uses them too."""
    pins_made: int = 0
    pins_returned: int = 0
    """Pins that were still there when their program's next sequence was admitted."""
    pins_given_up: int = 0
    """Pins ended because memory was short."""
    refused: int = 0
    """Sequences that the admit policy turned away."""
    preempted_for: dict[str, int] = {}
    """Preemptions by cause: growth (a sequence that ranks higher needed one more block), rank (one that ranks
    higher waited for admission)."""
    last_step_tokens: int = 0
    step_tokens: int = 0
    """Rows of all steps."""
    step_sizes: tuple[int, ...] = ()
    """Steps by size: entry i counts those of more than 2**(i-1) and at most 2**i rows; the last, the rest."""
