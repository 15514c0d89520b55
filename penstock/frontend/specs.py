"""From a prompt and checked parameters to the sequences that the engine runs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec

from penstock.core.errors import InvalidRequest
from penstock.core.request import RequestSpec, SamplingParams
from penstock.frontend.params import GenerationParams
from penstock.frontend.prompts import RequestOptions
from penstock.frontend.text.tokenizer import Tokenizer

COMPLETION_TOKENS = 16
"""``max_tokens`` of a plain completion that names none, as in the OpenAI API."""

_MASK = 2**64 - 1


class ModelLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What requests are measured against."""

    vocab_size: int
    max_model_len: int
    """Context length in tokens, prompt and output together."""
    eos_ids: tuple[int, ...] = ()


def derive_seed(seed: int, index: int) -> int:
    """Return the seed of the ``index``-th of ``n`` completions.

    The first keeps the request's own seed, so that ``n=1`` and the first of ``n=4`` agree; the others are
    splitmix64 (Steele, Lea, Flood 2014) of it, so that neighbouring seeds do not share completions.
    """
    if index == 0:
        return seed
    z = (seed + index * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) >> 1


class SeedSource:
    """Draws seeds for requests that bring none; a run with the same calls draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def draw(self) -> int:
        """Return the next seed, 0 <= seed < 2**63."""
        return self._random.getrandbits(63)


def fit_prompt(
    prompt_ids: Sequence[int], params: GenerationParams, limits: ModelLimits, field: str = "prompt"
) -> tuple[int, ...]:
    """Return the prompt's tokens, truncated if so asked, or refuse them.

    Args:
        prompt_ids: the tokens.
        params: for ``truncate_prompt_tokens``.
        limits: the model's.
        field: what to call the prompt in an error (``prompt`` or ``messages``).

    Raises:
        InvalidRequest: no tokens, ids outside the vocabulary, or no room left to generate one token.
    """
    ids = tuple(prompt_ids)
    if params.truncate_prompt_tokens is not None:
        ids = ids[-params.truncate_prompt_tokens :]
    if not ids:
        raise InvalidRequest(field, "expected at least one token, got none")
    for index, token in enumerate(ids):
        if isinstance(token, bool) or not isinstance(token, int):
            raise InvalidRequest(f"{field}[{index}]", f"expected a token id, got {token!r}")
        if not 0 <= token < limits.vocab_size:
            raise InvalidRequest(
                f"{field}[{index}]",
                f"expected a token id from 0 to {limits.vocab_size - 1}, got {token}",
            )
    if len(ids) >= limits.max_model_len:
        raise InvalidRequest(
            field,
            f"expected at most {limits.max_model_len - 1} tokens, to leave room for one more in the context "
            f"of {limits.max_model_len}, got {len(ids)}",
        )
    return ids


def build_specs(
    request_id: str,
    prompt_ids: tuple[int, ...],
    params: GenerationParams,
    *,
    limits: ModelLimits,
    tokenizer: Tokenizer | None,
    options: RequestOptions,
    seed: int,
    chat: bool = False,
) -> tuple[RequestSpec, ...]:
    """Return one spec per completion: ``<id>`` alone, or ``<id>-0`` .. ``<id>-<n-1>``.

    Args:
        request_id: the request's.
        prompt_ids: from `fit_prompt`.
        params: checked parameters.
        limits: the model's.
        tokenizer: spells ``bad_words``.
        options: tenant, priority...
        seed: used when ``params`` has none.
        chat: without ``max_tokens``, use the room left instead of `COMPLETION_TOKENS`.

    Raises:
        InvalidRequest: names the parameter that does not fit the model.
    """
    check_options(options)
    if params.structured_outputs is not None:
        if options.grammar is not None:
            raise InvalidRequest("structured_outputs", f"excludes {options.grammar.field}")
        options = msgspec.structs.replace(options, grammar=params.structured_outputs)
    sampling = _sampling(prompt_ids, params, limits, tokenizer, chat)
    base = params.seed if params.seed is not None else seed
    specs = []
    for index in range(params.n):
        own = msgspec.structs.replace(sampling, seed=derive_seed(base, index))
        if index:
            own = msgspec.structs.replace(own, prompt_logprobs=None)  # the prompt is the same: score it once
        specs.append(
            RequestSpec(
                id=request_id if params.n == 1 else f"{request_id}-{index}",
                prompt_ids=prompt_ids,
                sampling=own,
                eos_ids=limits.eos_ids,
                **msgspec.structs.asdict(options),
            )
        )
    return tuple(specs)


def _sampling(
    prompt_ids: tuple[int, ...],
    params: GenerationParams,
    limits: ModelLimits,
    tokenizer: Tokenizer | None,
    chat: bool,
) -> SamplingParams:
    for name in ("logit_bias", "allowed_token_ids", "stop_token_ids"):
        _check_vocabulary(name, getattr(params, name) or (), limits)
    same = {
        name: getattr(params, name)
        for name in SamplingParams.__struct_fields__
        if name not in ("max_tokens", "bad_words", "seed", "min_tokens")
    }
    max_tokens = _max_tokens(prompt_ids, params, limits, chat)
    if params.min_tokens > max_tokens:
        raise InvalidRequest(
            "min_tokens", f"expected at most {max_tokens} (max_tokens), got {params.min_tokens}"
        )
    return SamplingParams(
        max_tokens=max_tokens,
        min_tokens=params.min_tokens,
        bad_words=_bad_words(params, limits, tokenizer),
        **same,
    )


def _max_tokens(
    prompt_ids: tuple[int, ...], params: GenerationParams, limits: ModelLimits, chat: bool
) -> int:
    room = limits.max_model_len - len(prompt_ids)
    if params.max_tokens is None:
        return room if chat else min(COMPLETION_TOKENS, room)
    if params.max_tokens > room:
        raise InvalidRequest(
            "max_tokens",
            f"expected at most {room} (a context of {limits.max_model_len} tokens less a prompt of "
            f"{len(prompt_ids)}), got {params.max_tokens}",
        )
    return params.max_tokens


def _bad_words(
    params: GenerationParams, limits: ModelLimits, tokenizer: Tokenizer | None
) -> tuple[tuple[int, ...], ...]:
    found: list[tuple[int, ...]] = []
    for index, word in enumerate(params.bad_words):
        if isinstance(word, tuple):
            _check_vocabulary(f"bad_words[{index}]", word, limits)
            found.append(word)
        elif tokenizer is None:
            raise InvalidRequest(f"bad_words[{index}]", "expected token ids: this engine has no tokenizer")
        else:
            try:
                found.extend(tokenizer.bad_word_ids([word]))
            except InvalidRequest as error:
                raise InvalidRequest(f"bad_words[{index}]", error.message) from None
    return tuple(dict.fromkeys(found))


def _check_vocabulary(field: str, ids: Sequence[int] | dict[int, float], limits: ModelLimits) -> None:
    for token in ids:
        if token >= limits.vocab_size:
            raise InvalidRequest(
                field, f"expected token ids below the vocabulary size {limits.vocab_size}, got {token}"
            )


def check_options(options: RequestOptions) -> None:
    """Check how a request wants to be scheduled.

    Raises:
        InvalidRequest: names the option and what was expected.
    """
    weight, priority = options.weight, options.priority
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
        raise InvalidRequest("weight", f"expected a number greater than 0, got {weight!r}")
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) >= 2**31:
        raise InvalidRequest("priority", f"expected an integer of less than 32 bits, got {priority!r}")
    if options.adapter is not None:
        raise InvalidRequest("adapter", "expected none: this engine offers none")
    if options.slo is not None:
        for name in ("ttft", "tpot", "deadline"):
            seconds = getattr(options.slo, name)
            if seconds is not None and not 0 < seconds < math.inf:
                raise InvalidRequest(f"slo.{name}", f"expected seconds greater than 0, got {seconds!r}")
