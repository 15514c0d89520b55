"""One sequence under way. Only the scheduler, its landing half and the KV manager write to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.request import RequestSpec
from penstock.core.states import SeqState

if TYPE_CHECKING:
    from penstock.core.kv.radix import PrefixNode

UNSENT = -1
"""`Sequence.table_sent` of a sequence that the executor must be told about in full."""
PREEMPTIONS_DATED = 16


class Sequence:
    """Mutable state of a request from submission to its terminal event.

    Token counts obey ``0 <= computed <= planned <= target``; ``target`` is the number of tokens known
    (``len(tokens)``) plus those that steps in flight are going to sample. A step closes the gap between
    ``planned`` and ``target``; what is a prefill and what a decode is only a matter of the gap's size.
    """

    __slots__ = (
        "arrival",
        "blocks",
        "cached_tokens",
        "computed",
        "cursor",
        "first_scheduled",
        "first_token",
        "high_water",
        "id",
        "last_token",
        "max_total",
        "number",
        "planned",
        "preempted",
        "preemptions",
        "program_arrival",
        "prompt_length",
        "published",
        "queued",
        "room",
        "scored",
        "slot",
        "spec",
        "state",
        "stops",
        "table_sent",
        "target",
        "ticket",
        "tokens",
        "void_through",
    )

    def __init__(self, spec: RequestSpec, number: int, max_model_len: int) -> None:
        sampling = spec.sampling
        self.spec = spec
        self.id = spec.id
        self.number = number
        """Submission order; the last tie-break of every ordering."""
        self.arrival = spec.arrival
        self.program_arrival = spec.arrival
        """Arrival of its program's first sequence; its own without a program."""
        self.state = SeqState.QUEUED
        self.queued = False
        """Whether the waiting queue holds it."""

        self.tokens: list[int] = list(spec.prompt_ids)
        self.prompt_length = len(self.tokens)
        self.max_total = min(self.prompt_length + sampling.max_tokens, max_model_len)
        self.stops = frozenset(sampling.stop_token_ids) | (
            frozenset() if sampling.ignore_eos else frozenset(spec.eos_ids)
        )

        self.computed = 0
        """Tokens whose KV is known to be written (landed)."""
        self.planned = 0
        """Tokens whose KV is written once every step in flight has landed."""
        self.target = self.prompt_length
        self.ticket = 0
        """The last step that touches this sequence's blocks."""
        self.void_through = 0
        """Results of steps up to this ticket bring tokens but no KV: it was preempted after them."""
        self.high_water = 0
        """Most tokens ever computed; below it, work is recomputation."""

        self.blocks: list[int] = []
        self.room = 0
        """Tokens that the blocks can hold."""
        self.table_sent = UNSENT
        """Block-table entries that the executor knows of; UNSENT before it knows the sequence at all."""
        self.cursor: PrefixNode | None = None
        """Deepest node of the prefix index that this sequence published or matched."""
        self.published = 0
        """Leading pages of this sequence that the prefix index holds."""
        self.slot = -1
        self.scored = 0
        """Prompt log-probabilities delivered."""

        self.preemptions = 0
        self.preempted: tuple[float, ...] = ()
        """When the first `PREEMPTIONS_DATED` of them were."""
        self.cached_tokens = 0
        self.first_scheduled = 0.0
        self.first_token = 0.0
        self.last_token = 0.0

    @property
    def generated(self) -> int:
        """Tokens generated and landed."""
        return len(self.tokens) - self.prompt_length

    def __repr__(self) -> str:
        return (
            f"Sequence({self.id}, {self.state.value}, computed={self.computed}, planned={self.planned}, "
            f"target={self.target}, blocks={len(self.blocks)})"
        )
