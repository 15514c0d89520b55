"""From what a caller hands in to sequences for the engine: tokenise, render, validate, name."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from penstock.core.errors import InvalidRequest
from penstock.core.request import RequestSpec
from penstock.frontend.assembly import Assembly
from penstock.frontend.params import GenerationParams, parse_params
from penstock.frontend.prompts import Chat, Prompt, RequestOptions, Text
from penstock.frontend.specs import ModelLimits, SeedSource, build_specs, fit_prompt
from penstock.frontend.text.tokenizer import Tokenizer

NO_OPTIONS = RequestOptions()


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt in tokens, and its parameters, measured against the model."""

    prompt_ids: tuple[int, ...]
    prompt: str | None
    """Its text, after the chat template; None when it came as token ids."""
    params: GenerationParams
    chat: bool = False


class Intake:
    """Turns prompts into sequences; one per engine, used by one thread at a time.

    Args:
        tokenizer: the model's.
        limits: the model's.
        seeds: for requests that bring none.
    """

    def __init__(self, tokenizer: Tokenizer, limits: ModelLimits, seeds: SeedSource) -> None:
        self._tokenizer = tokenizer
        self._limits = limits
        self._seeds = seeds

    def prepare(self, prompt: Prompt, params: Any = None) -> Prepared:
        """Tokenise and measure.

        Raises:
            InvalidRequest: names the field at fault.
        """
        checked = parse_params(params)
        text, ids, field = self._tokens(prompt, bounded=checked.truncate_prompt_tokens is None)
        fitted = fit_prompt(ids, checked, self._limits, field)
        return Prepared(prompt_ids=fitted, prompt=text, params=checked, chat=field == "messages")

    def admit(
        self, prepared: Prepared, request_id: str | None = None, options: RequestOptions | None = None
    ) -> tuple[tuple[RequestSpec, ...], Assembly]:
        """Return the sequences of a prepared request, and the assembly that follows them.

        Raises:
            InvalidRequest: names the field at fault.
        """
        if request_id is not None and (not isinstance(request_id, str) or not 0 < len(request_id) <= 256):
            raise InvalidRequest("request_id", "expected a string of 1 to 256 characters")
        name = request_id or f"req-{uuid.uuid4().hex}"
        specs = build_specs(
            name,
            prepared.prompt_ids,
            prepared.params,
            limits=self._limits,
            tokenizer=self._tokenizer,
            options=options or NO_OPTIONS,
            seed=0 if prepared.params.seed is not None else self._seeds.draw(),
            chat=prepared.chat,
        )
        return specs, Assembly(name, specs, prepared.prompt, prepared.params, self._tokenizer)

    def _tokens(self, prompt: Prompt, bounded: bool) -> tuple[str | None, tuple[int, ...], str]:
        """Return text (if it is text), tokens, and the name of the field the prompt came in."""
        if isinstance(prompt, str):
            prompt = Text(text=prompt)
        if isinstance(prompt, Text):
            self._check_length(prompt.text, "prompt", bounded)
            ids = self._tokenizer.encode(prompt.text, add_special_tokens=prompt.add_special_tokens)
            return prompt.text, ids, "prompt"
        if isinstance(prompt, Chat):
            return self._chat_tokens(prompt, bounded)
        items: tuple[Any, ...] = tuple(prompt) if isinstance(prompt, Iterable) else ()
        if items and all(isinstance(item, Mapping) for item in items):
            return self._chat_tokens(Chat(messages=items), bounded)
        if not items or not all(isinstance(item, int) for item in items):
            raise InvalidRequest("prompt", "expected a text, a list of token ids, or a list of messages")
        return None, items, "prompt"

    def _chat_tokens(self, chat: Chat, bounded: bool) -> tuple[str, tuple[int, ...], str]:
        text = chat.rendered if chat.rendered is not None else self._tokenizer.render_chat(chat)
        self._check_length(text, "messages", bounded)
        return text, self._tokenizer.encode(text, add_special_tokens=False), "messages"

    def _check_length(self, text: str, field: str, bounded: bool) -> None:
        """Refuse what cannot fit before spending time on tokenising it."""
        limit = self._limits.max_model_len
        if bounded and len(text) > limit and len(text) > limit * self._tokenizer.longest_token:
            raise InvalidRequest(
                field, f"expected a text that fits the context of {limit} tokens, got {len(text)} characters"
            )
