"""From a validated body to what the engine is asked: prompt, parameters, options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request

from penstock.core.errors import InvalidRequest
from penstock.core.request import SLO, Turn
from penstock.frontend.answers.reader_set import Reading
from penstock.frontend.pooling import pooling_params
from penstock.frontend.prompts import Chat, Prompt, RequestOptions, Text
from penstock.server import service
from penstock.server.principal import Principal, principal_of
from penstock.server.schemas.chat import ChatRequest, ChatTemplateFields
from penstock.server.schemas.completion import CompletionRequest
from penstock.server.schemas.embeddings import EmbeddingRequest
from penstock.server.schemas.sampling import GenerationBody
from penstock.server.schemas.scheduling import SchedulingFields
from penstock.server.structured import grammar_of
from penstock.server.tools import plan_of

_PASSED_ON = (
    *("temperature", "top_p", "top_k", "min_p", "n", "presence_penalty", "frequency_penalty"),
    *("repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos", "allowed_token_ids", "bad_words"),
    *("include_stop_str_in_output", "skip_special_tokens", "truncate_prompt_tokens", "prompt_logprobs"),
)
"""Fields whose name and meaning the engine's front shares."""


class Ask(msgspec.Struct, frozen=True):
    """One engine request; a batch of prompts is several."""

    prompt: Prompt
    params: Mapping[str, Any]
    options: RequestOptions
    timeout: float | None = None
    """Seconds that the caller gives it, from its arrival to its last token."""
    interval: int | None = None
    """Tokens that an event of its stream gathers; None takes the server's."""
    reading: Reading = Reading()
    """How its answers are read, where they are a chat's."""
    lenient: bool = False
    """Where its grammar cannot be used it goes without."""


def chat_ask(body: ChatRequest, request: Request) -> Ask:
    """Return the engine request of a chat body."""
    params = _params(body)
    if body.limit() == 0:
        raise InvalidRequest("max_tokens", "must be at least 1")
    _put(params, "max_tokens", body.limit())
    if body.logprobs:
        params["logprobs"] = body.top_logprobs or 0
    plan = plan_of(service.of(request), body, chat_prompt(body), grammar_of(body))
    if plan.reading.control_tokens:
        params["shown_special_tokens"] = plan.reading.control_tokens
    options = msgspec.structs.replace(_options(body, request), grammar=plan.grammar)
    timeout, interval = _seconds(body.timeout_ms), body.stream_interval
    return Ask(plan.prompt, params, options, timeout, interval, plan.reading, plan.lenient)


def chat_prompt(body: ChatTemplateFields) -> Chat:
    """Return the conversation; an answer is begun unless the last message is to be continued."""
    going_on = bool(body.continue_final_message)
    begin = body.add_generation_prompt if body.add_generation_prompt is not None else not going_on
    return Chat(
        messages=body.turns(),
        add_generation_prompt=begin,
        continue_final_message=going_on,
        tools=body.told_tools(),
        template_kwargs=body.template_variables(),
    )


def completion_asks(body: CompletionRequest, request: Request) -> list[Ask]:
    """Return one engine request per prompt of a completion body."""
    params = _params(body)
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequest("max_tokens", "must be at least 1 unless echo is true")
    # The engine always generates; scoring a prompt alone drops the one token that it could not avoid.
    _put(params, "max_tokens", None if body.max_tokens is None else max(1, body.max_tokens))
    if body.logprobs is not None:
        params["logprobs"] = body.logprobs
        if body.echo:
            params["prompt_logprobs"] = max(body.logprobs, body.prompt_logprobs or 0)
    _put(params, "structured_outputs", grammar_of(body))
    return _asks(body.prompts(), params, body, request, body.stream_interval)


def embedding_asks(body: EmbeddingRequest, request: Request) -> list[Ask]:
    """Return one engine request per input of an embedding body."""
    params = pooling_params(body.pooling or "mean")
    _put(params, "truncate_prompt_tokens", body.truncate_prompt_tokens)
    return _asks(body.inputs(), params, body, request)


def _asks(
    prompts: Sequence[str | list[int]],
    params: Mapping[str, Any],
    body: CompletionRequest | EmbeddingRequest,
    request: Request,
    interval: int | None = None,
) -> list[Ask]:
    options, timeout = _options(body, request), _seconds(body.timeout_ms)
    special = body.add_special_tokens is not False

    def form(one: str | list[int]) -> Prompt:
        return Text(text=one, add_special_tokens=special) if isinstance(one, str) else one

    return [Ask(form(one), params, options, timeout, interval) for one in prompts]


def _params(body: GenerationBody) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name in _PASSED_ON:
        _put(params, name, getattr(body, name))
    if body.stops():
        params["stop"] = list(body.stops())
    if body.top_k == -1:
        params["top_k"] = 0
    if body.seed is not None:
        params["seed"] = body.seed & (2**63 - 1)
    if body.logit_bias:
        params["logit_bias"] = {int(key): value for key, value in body.logit_bias.items()}
    return params


def _put(params: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        params[name] = value


def _options(body: SchedulingFields, request: Request) -> RequestOptions:
    slo, turn = body.slo, body.turn
    if turn is not None and body.program is None:
        raise InvalidRequest("turn", "needs 'program', the id of the program that it is a turn of")
    return RequestOptions(
        **_standing(body, principal_of(request)),
        slo=None
        if slo is None
        else SLO(ttft=_seconds(slo.ttft_ms), tpot=_seconds(slo.tpot_ms), deadline=_seconds(slo.deadline_ms)),
        program=body.program,
        turn=None if turn is None else Turn(index=turn.index or 0, last=bool(turn.last), tool=turn.tool),
        trace=request.headers.get("traceparent"),
    )


def _standing(body: SchedulingFields, who: Principal) -> dict[str, Any]:
    """Return whom a request is charged to, and how urgent it may be: the key decides before the body."""
    tenant, weight, priority = body.tenant or body.user or "default", body.weight or 1.0, body.priority or 0
    if not who.admin:
        tenant = tenant if who.tenant is None else who.tenant
        weight = weight if who.weight is None else who.weight
        if who.priority is not None:
            priority = who.priority if body.priority is None else max(priority, who.priority)
    elif body.tenant is None and who.tenant is not None:
        tenant = who.tenant
    salt = body.cache_salt or ""
    if salt.startswith(("tenant:", "salt:")):
        salt = f"salt:{salt}"  # nobody may name the private cache of a tenant
    if who.private_cache:
        salt = f"tenant:{who.tenant}:{salt}"
    return {"tenant": tenant, "weight": weight, "priority": priority, "cache_namespace": salt}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
