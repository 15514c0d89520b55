"""What the two writers share: the protocol they fulfil, and pieces of replies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from msgspec import UNSET, UnsetType

from penstock.core.output import FinishReason
from penstock.frontend.outputs import CompletionOutput, RequestOutput, TokenLogprob, Usage
from penstock.server.schemas import replies

LOWEST = -9999.0
"""Stands for minus infinity, which JSON cannot say and clients' number types do not expect as null."""


class Writer(Protocol):
    """Puts engine outputs into the words of one endpoint; one instance per HTTP request."""

    def whole(self, outputs: Sequence[RequestOutput], usage: Usage) -> bytes:
        """Return the JSON answer of a request that is not streamed."""
        ...

    def chunks(self, index: int, output: RequestOutput, usage: Usage) -> list[bytes]:
        """Return the JSON of the stream's events for one delta of prompt ``index``; may be none."""
        ...

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the JSON of the event with the token counts."""
        ...


def usage_of(usage: Usage, reasoning: int | None = None) -> replies.Usage:
    """Return token counts in OpenAI's form, those of reasoning among them where they are known."""
    return replies.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=replies.PromptTokensDetails(usage.cached_tokens),
        completion_tokens_details=UNSET if reasoning is None else replies.CompletionTokensDetails(reasoning),
    )


def finite(logprob: float) -> float:
    """Return the number, or `LOWEST` for what JSON cannot say."""
    return logprob if math.isfinite(logprob) else LOWEST


def stop_reason(out: CompletionOutput) -> int | str | UnsetType:
    """Return the stop string or id that ended the answer; absent when it was the model's own end."""
    return UNSET if out.stop_reason is None else out.stop_reason


def finish_reason(out: CompletionOutput, called: bool = False) -> str | None:
    """Return OpenAI's word for the end; None while there is none.

    Args:
        out: news of an answer.
        called: the answer has called tools.
    """
    if called and out.finish_reason is FinishReason.STOP:
        return "tool_calls"
    return None if out.finish_reason is None else str(out.finish_reason.value)


def prompt_scores(
    output: RequestOutput,
) -> list[dict[int, replies.PromptLogprob] | None] | UnsetType:
    """Return the prompt's scores, one entry per token and null for the first; absent when not asked for."""
    if output.prompt_logprobs is None:
        return UNSET
    return [None if entry is None else _candidates(entry) for entry in output.prompt_logprobs]


def _candidates(entry: TokenLogprob) -> dict[int, replies.PromptLogprob]:
    found = {
        top.token_id: replies.PromptLogprob(finite(top.logprob), rank, top.token)
        for rank, top in enumerate(entry.top, start=1)
    }
    found[entry.token_id] = replies.PromptLogprob(finite(entry.logprob), entry.rank, entry.token)
    return found


def chat_logprobs(out: CompletionOutput) -> replies.ChatLogprobs:
    """Return the scores of an answer, or of news of it, in chat's form."""
    return replies.ChatLogprobs([scored(entry) for entry in out.logprobs or ()])


def scored(entry: TokenLogprob) -> replies.TokenLogprob:
    """Return the scores of one token in chat's form."""
    top = [replies.TopLogprob(one.token, finite(one.logprob), list(one.bytes)) for one in entry.top]
    return replies.TokenLogprob(entry.token, finite(entry.logprob), list(entry.bytes), top)
