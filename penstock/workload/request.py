"""A request of a workload: what it will send, when, and (kept from every policy) how long its answer gets.

Prompts are made of *spans*: token ids that follow from a stream's number and a position, so that equal spans
are equal tokens and prefix sharing in a simulated cache is exact, while a workload of a million requests
holds two numbers per span.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from penstock.core.request import SLO, RequestSpec, SamplingParams, Turn

STREAM_TOKENS = 1 << 20
"""Longest span; the ids of stream s are ``s * STREAM_TOKENS + position``."""


class Span(NamedTuple):
    """``length`` tokens of a stream, from ``start`` on. Equal spans are equal tokens."""

    stream: int
    """>= 1; whoever shares text shares its stream."""
    length: int
    start: int = 0

    def ids(self) -> range:
        """Return the token ids."""
        first = self.stream * STREAM_TOKENS + self.start
        return range(first, first + self.length)


class TraceRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of a workload."""

    id: str
    arrival: float
    """Seconds from the start of the run at which it reaches the front door."""
    prompt: tuple[Span, ...]
    output_tokens: int
    """Tokens that it will generate: the truth, which policies are not shown."""
    max_tokens: int = 0
    """Limit that the client asks for; 0 asks for exactly `output_tokens`."""
    output_stream: int = 0
    """Stream of the generated tokens, for a later turn's prompt to quote; 0 gives it one of its own."""
    think_tokens: int = 0
    """Leading generated tokens that the user is not shown (reasoning)."""
    tenant: str = "default"
    weight: float = 1.0
    priority: int = 0
    slo: SLO | None = None
    program: str | None = None
    turn: Turn | None = None
    length_score: float | None = None
    """What a length predictor said; see `RequestSpec.length_score`."""
    group: str | None = None
    """Prefix group of an offline job; see `RequestSpec.group`."""
    group_tokens: int = 0
    """Leading prompt tokens that the group's members share."""

    @property
    def prompt_tokens(self) -> int:
        """Prompt length."""
        return sum(span.length for span in self.prompt)

    def prompt_ids(self, vocab_size: int = 0) -> tuple[int, ...]:
        """Return the token ids, folded into ``1..vocab_size-1`` if a vocabulary is given (real engines)."""
        ids = tuple(token for span in self.prompt for token in span.ids())
        if not vocab_size:
            return ids
        # A multiplicative hash keeps neighbouring streams apart after folding.
        return tuple(1 + (token * 2654435761 >> 7) % (vocab_size - 1) for token in ids)

    def spec(self, arrival: float, vocab_size: int = 0) -> RequestSpec:
        """Return what the engine is given.

        Args:
            arrival: engine-clock seconds.
            vocab_size: of a real model, whose ids the prompt is folded into; 0 for a simulated one.
        """
        if vocab_size:
            # A real model does not know the truth: it is made to stop where the trace did.
            sampling = SamplingParams(max_tokens=self.output_tokens, temperature=0.0, ignore_eos=True)
        else:
            sampling = SamplingParams(max_tokens=self.max_tokens or self.output_tokens, temperature=0.0)
        return RequestSpec(
            id=self.id,
            prompt_ids=self.prompt_ids(vocab_size),
            sampling=sampling,
            eos_ids=() if vocab_size else (0,),
            arrival=arrival,
            tenant=self.tenant,
            weight=self.weight,
            priority=self.priority,
            slo=self.slo,
            program=self.program,
            turn=self.turn,
            length_score=self.length_score,
            group=self.group,
            group_tokens=self.group_tokens,
        )
