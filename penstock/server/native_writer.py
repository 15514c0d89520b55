"""Answers of the token-level endpoints."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from penstock.core.output import FinishReason
from penstock.frontend.outputs import CompletionOutput, RequestOutput, TokenLogprob, Usage, merge
from penstock.server.schemas.native import GenerateRequest, TokensRequest
from penstock.server.schemas.native_replies import (
    Ended,
    Generated,
    MetaInfo,
    Scored,
    TokensChoice,
    TokensReply,
)
from penstock.server.schemas.replies import encode
from penstock.server.writing import chat_logprobs, finish_reason, finite, prompt_scores, usage_of

PromptScores = tuple[TokenLogprob | None, ...]


class GenerateWriter:
    """Puts engine outputs into SGLang's form; ``index`` counts ``prompt * n + answer``.

    Args:
        answer_id: the reply's id; those of several answers get a number behind it.
        body: the request.
    """

    def __init__(self, answer_id: str, body: GenerateRequest) -> None:
        self._id = answer_id
        self._single = body.single
        self._incremental = bool(body.incremental)
        self._scores = bool(body.return_logprob)
        self._start = -1 if body.logprob_start_len is None else body.logprob_start_len
        self._texts = bool(body.return_text_in_logprobs)
        self._counts = [body.params(index).n or 1 for index in range(len(body.prompts()))]
        self._firsts = [sum(self._counts[:index]) for index in range(len(self._counts))]
        self._lone = sum(self._counts) == 1
        self._sofar: dict[int, RequestOutput] = {}
        self._made: dict[int, int] = {}
        """By answer, how many tokens were sent in earlier events."""
        self._heard: dict[int, PromptScores] = {}
        """By answer, its prompt's scores: they come once, maybe ahead of an event that can carry them."""

    def whole(self, outputs: Sequence[RequestOutput], usage: Usage) -> bytes:
        """Return the answer; a list unless one prompt, not in a list, asked for one answer."""
        found = [
            self._generated(index, output, out)
            for index, output in enumerate(outputs)
            for out in output.outputs
        ]
        return encode(found[0] if self._single and self._lone else found)

    def chunks(self, index: int, output: RequestOutput, usage: Usage) -> list[bytes]:
        """Return one event per answer with news: all of it so far, or the news alone where asked for."""
        if self._incremental and output.prompt_logprobs is not None:
            first = self._firsts[index]
            self._heard.update(
                dict.fromkeys(range(first, first + self._counts[index]), output.prompt_logprobs)
            )
            output = msgspec.structs.replace(output, prompt_logprobs=None)
        news = {out.index for out in output.outputs if out.token_ids or out.finish_reason}
        shown = output if self._incremental else self._all_of(index, output)
        found = [self._generated(index, shown, out) for out in shown.outputs if out.index in news]
        if self._single and self._lone:
            return [encode(one) for one in found]
        first = self._firsts[index]
        numbers = [first + out.index for out in shown.outputs if out.index in news]
        return [
            encode(msgspec.structs.replace(one, index=number))
            for one, number in zip(found, numbers, strict=True)
        ]

    def usage_chunk(self, usage: Usage) -> bytes:
        """Never asked for: each event carries its counts."""
        raise NotImplementedError

    def _all_of(self, index: int, delta: RequestOutput) -> RequestOutput:
        whole = self._sofar.get(index)
        if whole is None:
            whole = msgspec.structs.replace(
                delta, outputs=[msgspec.structs.replace(o) for o in delta.outputs]
            )
            self._sofar[index] = whole
        else:
            merge(whole, delta)
        return whole

    def _generated(self, index: int, output: RequestOutput, out: CompletionOutput) -> Generated:
        return Generated(
            text=out.text, output_ids=list(out.token_ids), meta_info=self._meta(index, output, out)
        )

    def _meta(self, index: int, output: RequestOutput, out: CompletionOutput) -> MetaInfo:
        number = self._firsts[index] + out.index
        made = self._made.get(number, 0) + len(out.token_ids)
        if self._incremental:
            self._made[number] = made
        line = out.timeline
        done = out.finish_reason is not None and line is not None
        scores = out.logprobs or ()
        scored = output.prompt_logprobs or self._heard.pop(number, None) or ()
        prompt = scored[max(0, self._start) :]
        ids = output.prompt_token_ids[max(0, self._start) :]
        return MetaInfo(
            id=self._id if self._lone else f"{self._id}_{number}",
            finish_reason=_ended(out, made),
            prompt_tokens=output.usage.prompt_tokens,
            completion_tokens=made,
            cached_tokens=output.usage.cached_tokens,
            e2e_latency=line.finished - line.arrival if done and line else UNSET,
            queue_time=line.first_scheduled - line.arrival if done and line else UNSET,
            total_retractions=out.preemptions if done else UNSET,
            input_token_logprobs=[self._one(entry, token) for entry, token in zip(prompt, ids, strict=False)]
            if self._scores
            else UNSET,
            input_top_logprobs=[self._top(entry) for entry in prompt] if self._scores else UNSET,
            output_token_logprobs=[self._one(entry, entry.token_id) for entry in scores]
            if self._scores
            else UNSET,
            output_top_logprobs=[self._top(entry) for entry in scores] if self._scores else UNSET,
        )

    def _one(self, entry: TokenLogprob | None, token_id: int) -> Scored:
        if entry is None:
            return None, token_id, None
        return finite(entry.logprob), token_id, entry.token if self._texts else None

    def _top(self, entry: TokenLogprob | None) -> list[Scored] | None:
        if entry is None or not entry.top:
            return None
        return [(finite(one.logprob), one.token_id, one.token if self._texts else None) for one in entry.top]


def _ended(out: CompletionOutput, made: int) -> Ended | None:
    if out.finish_reason is None:
        return None
    if out.finish_reason is FinishReason.LENGTH:
        return Ended(type="length", length=made)
    return Ended(type="stop", matched=out.stop_reason)


class TokensWriter:
    """Puts engine outputs into vLLM's token-in, token-out form.

    Args:
        answer_id: the reply's ``request_id``.
        body: the request.
    """

    def __init__(self, answer_id: str, body: TokensRequest) -> None:
        self._id = answer_id
        self._scores = body.sampling_params.logprobs is not None
        options = body.stream_options
        self._each_usage = bool(options and options.continuous_usage_stats)
        self._heard: RequestOutput | None = None

    def whole(self, outputs: Sequence[RequestOutput], usage: Usage) -> bytes:
        """Return the answer."""
        output = outputs[0]
        return encode(
            TokensReply(
                request_id=self._id,
                choices=[self._choice(out) for out in output.outputs],
                usage=usage_of(usage),
                prompt_logprobs=None if output.prompt_logprobs is None else prompt_scores(output),
            )
        )

    def chunks(self, index: int, output: RequestOutput, usage: Usage) -> list[bytes]:
        """Return one event per answer with news; the first carries the scores of the prompt."""
        found = []
        if output.prompt_logprobs is not None:
            self._heard = output
        for out in output.outputs:
            if out.token_ids or out.finish_reason:
                heard, self._heard = self._heard, None
                reply = TokensReply(
                    request_id=self._id,
                    choices=[self._choice(out)],
                    usage=usage_of(usage) if self._each_usage else UNSET,
                    prompt_logprobs=UNSET if heard is None else prompt_scores(heard),
                )
                found.append(encode(reply))
        return found

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the event without choices that carries the token counts."""
        return encode(TokensReply(request_id=self._id, choices=[], usage=usage_of(usage)))

    def _choice(self, out: CompletionOutput) -> TokensChoice:
        return TokensChoice(
            index=out.index,
            logprobs=chat_logprobs(out) if self._scores else None,
            finish_reason=finish_reason(out),
            token_ids=list(out.token_ids),
        )
