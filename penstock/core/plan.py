"""What crosses from the brain to the body each step (`StepPlan`) and back (`StepResult`).

Plans carry differences only: a sequence is described in full once, when it is admitted to a slot, and
afterwards by the range of tokens to compute and by the block-table entries that changed.
"""

from __future__ import annotations

import msgspec

from penstock.core.request import GrammarSpec, SamplingParams


class SlotInit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Full description of a sequence; replaces whatever the executor held in that slot (an upsert)."""

    slot: int
    request_id: str
    tokens: tuple[int, ...]
    """All known tokens, prompt then generated."""
    prompt_length: int
    sampling: SamplingParams
    eos_ids: tuple[int, ...]
    adapter: str | None = None
    grammar: GrammarSpec | None = None


class WorkItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Compute tokens ``[start, start + length)`` of the sequence in ``slot``.

    Their keys and values go to the pages that the block table names. Block-table entries from index
    ``table_from`` on become ``table`` (nothing changes when ``table`` is empty).
    When ``sample`` is set the last row's logits choose the next token, which the executor appends to
    its own copy of the slot's tokens, so that a following plan can refer to it before it has landed.
    """

    slot: int
    start: int
    length: int
    table_from: int
    table: tuple[int, ...]
    sample: bool
    layers: tuple[int, int] | None = None
    """If set, the rows pass layers ``[first, stop)`` only, from the hidden states that the step before left
    of them (from the embedding if first is 0); the last group of layers ends in a whole item's result."""


class PlanShape(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Summary of a step for cost models and graph keys. All counts are per step."""

    tokens: int
    """Rows computed; those of a cohort count in each of its steps."""
    sequences: int
    decodes: int
    """Sequences with exactly one row whose context is already cached."""
    prefill_tokens: int
    """Rows that are not decodes."""
    kv_tokens: int
    """Cached tokens read by decode rows, summed over sequences (their context length)."""
    prefill_pairs: int
    """Query-key pairs of prefill rows: sum of n * (start + (n + 1) / 2), rounded down."""
    samples: int
    """Rows whose logits are needed."""
    prefill_context: int = 0
    """Cached tokens before the step's prefill chunks, summed over sequences."""
    kv_max: int = 0
    """Longest context of a decode row."""
    cohort_tokens: int = 0
    """Prefill rows that pass only `cohort_layers` layers in this step (layered prefill); part of
    `prefill_tokens`."""
    cohort_layers: int = 0


class StepPlan(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One step of work; immutable. An executor runs plans strictly in ticket order."""

    ticket: int
    admits: tuple[SlotInit, ...]
    items: tuple[WorkItem, ...]
    frees: tuple[int, ...]
    """Slots whose sequence left; their contents may be dropped before this step runs."""
    shape: PlanShape


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Log-probabilities at one position: the token's own, its rank (1 = most likely) and the top ones."""

    token: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...]


class Pooled(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sum of the final hidden states of consecutive prompt tokens."""

    start: int
    """Position of the first."""
    rows: int
    """How many."""
    total: bytes
    """The sum, as little-endian float32."""


class ItemResult(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Outcome of the plan's work item of the same index."""

    tokens: tuple[int, ...] = ()
    """Tokens sampled (one when the item asked for a sample; more with speculation)."""
    logprobs: tuple[TokenLogprobs, ...] | None = None
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None
    """For rows of this item that predict a prompt token; row i scores the token at start + i + 1."""
    error: str | None = None
    """This sequence alone failed; the others of the step are valid."""
    ended: bool = False
    """Its grammar allows nothing more: the sequence ends with these tokens (none or a stop id)."""
    pooled: Pooled | None = None
    """Of this item's prompt tokens, where pooling was asked for."""


class StepResult(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Outcome of one plan; ``items[i]`` belongs to ``plan.items[i]``."""

    ticket: int
    items: tuple[ItemResult, ...]
    seconds: float = 0.0
    """Time the executor spent on the step."""
