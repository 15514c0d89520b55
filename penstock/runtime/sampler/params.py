"""Sampling parameters of every slot, as vectors; what only few requests use is kept in sparse per-slot
records.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from penstock.core.request import SamplingParams

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NO_IDS: Ints = np.zeros(0, np.int64)
COLDEST = 1e-6
"""Temperatures below it are greedy: logits divided by less could not be told apart from an argmax."""


class Uses(IntFlag):
    """Which features a request uses; the OR over a batch tells what may be skipped for all of it."""

    NOISE = 1
    RESTRICT = 2
    PENALTY = 4
    BIAS = 8
    ALLOWED = 16
    BAD_WORDS = 32
    MIN_TOKENS = 64
    LOGPROBS = 128
    PROMPT_LOGPROBS = 256
    GRAMMAR = 512
    POOLING = 1024
    ADJUST = PENALTY | BIAS | ALLOWED | BAD_WORDS | MIN_TOKENS
    """The features that rewrite logits."""
    HISTORY = PENALTY | BAD_WORDS | GRAMMAR
    """The features that read the tokens generated so far."""


@dataclass(slots=True)
class Sparse:
    """Parts of a request's sampling parameters that do not fit a vector."""

    params: SamplingParams
    bias_ids: Ints
    bias_values: NDArray[np.float32]
    allowed: Ints
    stops: Ints
    """eos and stop ids, masked while fewer than min_tokens were generated."""
    bad_words: tuple[Ints, ...]
    prompt_seen: Ints | None = None
    """Distinct prompt ids, found when a repetition penalty first needs them."""


class SamplingTable:
    """One row per slot; see `SamplingParams` for the meaning of each vector.

    Args:
        slots: number of rows.
        vocab_size: ids named by the parameters must be below it.
    """

    def __init__(self, slots: int, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.flags = np.zeros(slots, np.int64)
        self.temperature: Floats = np.zeros(slots)
        self.top_k = np.zeros(slots, np.int64)
        self.top_p: Floats = np.ones(slots)
        self.min_p: Floats = np.zeros(slots)
        self.presence: Floats = np.zeros(slots)
        self.frequency: Floats = np.zeros(slots)
        self.repetition: Floats = np.ones(slots)
        self.min_tokens = np.zeros(slots, np.int64)
        self.seed = np.zeros(slots, np.uint64)
        self.logprobs = np.zeros(slots, np.int64)
        self.prompt_logprobs = np.zeros(slots, np.int64)
        self.sparse: list[Sparse | None] = [None] * slots

    def put(self, slot: int, params: SamplingParams, eos_ids: tuple[int, ...]) -> str | None:
        """Set a slot's parameters.

        Returns:
            None, or what is wrong with them, naming the field.
        """
        try:
            sparse = self._sparse(params, eos_ids)
        except _Refused as refused:
            return str(refused)
        self.sparse[slot] = sparse
        self.flags[slot] = int(_uses(params))
        self.temperature[slot] = params.temperature if params.temperature >= COLDEST else 0.0
        self.top_k[slot] = params.top_k if 0 < params.top_k < self.vocab_size else 0
        self.top_p[slot] = params.top_p
        self.min_p[slot] = params.min_p
        self.presence[slot] = params.presence_penalty
        self.frequency[slot] = params.frequency_penalty
        self.repetition[slot] = params.repetition_penalty
        self.min_tokens[slot] = params.min_tokens
        self.seed[slot] = params.seed % 2**64
        self.logprobs[slot] = -1 if params.logprobs is None else params.logprobs
        self.prompt_logprobs[slot] = -1 if params.prompt_logprobs is None else params.prompt_logprobs
        return None

    def drop(self, slot: int) -> None:
        """Let go of a slot's records."""
        self.sparse[slot] = None
        self.flags[slot] = 0

    def _sparse(self, params: SamplingParams, eos_ids: tuple[int, ...]) -> Sparse:
        bias = params.logit_bias
        stops = [i for i in {*eos_ids, *params.stop_token_ids} if 0 <= i < self.vocab_size]
        return Sparse(
            params=params,
            bias_ids=self._ids("logit_bias", tuple(bias)),
            bias_values=np.fromiter(bias.values(), np.float32, len(bias)),
            allowed=np.unique(self._ids("allowed_token_ids", params.allowed_token_ids or ())),
            stops=np.array(stops, np.int64),
            bad_words=tuple(self._ids("bad_words", word) for word in params.bad_words),
        )

    def _ids(self, field: str, ids: tuple[int, ...]) -> Ints:
        for i in ids:
            if not 0 <= i < self.vocab_size:
                raise _Refused(f"{field}: token id {i} is outside 0..{self.vocab_size - 1}")
        return np.array(ids, np.int64) if ids else NO_IDS


class _Refused(Exception):
    """A parameter that this model cannot honour."""


def _uses(params: SamplingParams) -> Uses:
    uses = Uses(0)
    if params.temperature >= COLDEST:
        uses |= Uses.NOISE
        if params.top_k > 0 or params.top_p < 1 or params.min_p > 0:
            uses |= Uses.RESTRICT
    if params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1:
        uses |= Uses.PENALTY
    for given, use in (
        (params.logit_bias, Uses.BIAS),
        (params.allowed_token_ids is not None, Uses.ALLOWED),
        (params.bad_words, Uses.BAD_WORDS),
        (params.min_tokens > 0, Uses.MIN_TOKENS),
        (params.logprobs is not None, Uses.LOGPROBS),
        (params.prompt_logprobs is not None, Uses.PROMPT_LOGPROBS),
        (params.pooling is not None, Uses.POOLING),
    ):
        if given:
            uses |= use
    return uses
