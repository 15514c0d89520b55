"""What a caller gets back: text and tokens of one request, whole (offline) or as deltas (streaming)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from penstock.core.output import FinishReason, Timeline


class TopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """One of the most likely tokens at a position."""

    token_id: int
    token: str
    """Its text alone; bytes that are no whole character show as U+FFFD."""
    bytes: bytes
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """How likely the chosen token was at its position, and what else was."""

    token_id: int
    token: str
    """Its text alone; bytes that are no whole character show as U+FFFD."""
    bytes: bytes
    logprob: float
    rank: int
    """1 is the most likely token."""
    offset: int
    """Characters of text (of the completion, or of the prompt) before this token."""
    top: tuple[TopLogprob, ...] = ()
    """Most likely tokens, best first."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens accounted to a request so far (not a delta), summed over its ``n`` completions."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens taken from the prefix cache."""


class CompletionOutput(msgspec.Struct, kw_only=True):
    """One of the ``n`` completions: all of it offline, the news since the last delta when streaming."""

    index: int = 0
    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    """One entry per token of ``token_ids`` when logprobs were asked for."""
    finish_reason: FinishReason | None = None
    """Set once, on the last news of this completion."""
    detail: str = ""
    """With ``abort``: client, deadline, shutdown or overload; with ``error``: the true cause."""
    stop_reason: int | str | None = None
    """The stop id or stop string that ended it; None for the model's eos."""
    timeline: Timeline | None = None
    """Engine-clock milestones, with ``finish_reason``."""
    preemptions: int = 0
    """How often the engine preempted it, with ``finish_reason``."""


class RequestOutput(msgspec.Struct, kw_only=True):
    """A request's result (offline) or one delta of it (streaming)."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    prompt: str | None = None
    """The prompt's text, after the chat template; None when it came as token ids."""
    outputs: list[CompletionOutput]
    """Offline: every completion by index. Streaming: those that have news."""
    usage: Usage = Usage()
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    """One entry per prompt token, None for the first; comes once, with or before the first token."""
    embedding: tuple[float, ...] | None = None
    """The prompt's pooled hidden states, not normalised, where ``pooling`` was asked for; with the end."""
    finished: bool = False
    """All completions are finished: the last output of the request."""


def merge(into: RequestOutput, delta: RequestOutput) -> None:
    """Add a later delta of the same request to what is there already.

    Args:
        into: grows in place; its completions are kept sorted by index.
        delta: what came after it.
    """
    have = {out.index: out for out in into.outputs}
    for new in delta.outputs:
        old = have.get(new.index)
        if old is None:
            into.outputs.append(msgspec.structs.replace(new))
            continue
        old.text += new.text
        old.token_ids += new.token_ids
        if new.logprobs is not None:
            old.logprobs = (old.logprobs or ()) + new.logprobs
        if new.finish_reason is not None:
            old.finish_reason, old.detail, old.stop_reason = new.finish_reason, new.detail, new.stop_reason
            old.timeline, old.preemptions = new.timeline, new.preemptions
    into.outputs.sort(key=lambda out: out.index)
    into.usage = delta.usage
    into.prompt_logprobs = delta.prompt_logprobs or into.prompt_logprobs
    into.embedding = delta.embedding or into.embedding
    into.finished = into.finished or delta.finished


async def collect(stream: AsyncIterator[RequestOutput]) -> RequestOutput:
    """Drain a stream of deltas into the whole result.

    Raises:
        ValueError: the stream was empty.
        PenstockError: whatever the stream raises.
    """
    whole: RequestOutput | None = None
    async for delta in stream:
        if whole is None:
            whole = delta
        else:
            merge(whole, delta)
    if whole is None:
        raise ValueError("the stream ended without any output")
    return whole
