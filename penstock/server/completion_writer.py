"""Answers of ``/v1/completions``, whole and in chunks, with the prompt echoed where asked."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import UNSET

from penstock.frontend.outputs import CompletionOutput, RequestOutput, TokenLogprob, Usage
from penstock.server.schemas import replies
from penstock.server.schemas.completion import CompletionRequest
from penstock.server.service import Service
from penstock.server.writing import finish_reason, finite, prompt_scores, stop_reason, usage_of


class CompletionWriter:
    """Puts engine outputs into OpenAI's completion form.

    Choices of a batch are numbered ``prompt * n + answer``, as OpenAI numbers them.

    Args:
        service: whose model answers.
        answer_id: the reply's ``id``.
        body: the request.
    """

    def __init__(self, service: Service, answer_id: str, body: CompletionRequest) -> None:
        options = body.stream_options
        self._service = service
        self._id = answer_id
        self._created = int(time.time())
        self._n = body.n or 1
        self._prompts = body.prompts()
        self._echo = bool(body.echo)
        self._nothing = body.max_tokens == 0
        self._ids = bool(body.return_token_ids)
        self._prompt_scores = body.prompt_logprobs is not None
        self._scores = body.logprobs
        self._usage = bool(options and options.include_usage)
        self._each_usage = bool(options and options.continuous_usage_stats)
        self._begun: set[int] = set()
        self._shift: dict[int, int] = {}
        self._heard: dict[int, RequestOutput] = {}
        """By prompt, the output that brought its scores: they come once, ahead of the first chunks."""

    def whole(self, outputs: Sequence[RequestOutput], usage: Usage) -> bytes:
        """Return the ``text_completion`` object."""
        for index, output in enumerate(outputs):
            self._hear(index, output)
        choices = [
            self._choice(index, output, out) for index, output in enumerate(outputs) for out in output.outputs
        ]
        return replies.encode(self._envelope(choices, usage_of(self._counted(usage))))

    def chunks(self, index: int, output: RequestOutput, usage: Usage) -> list[bytes]:
        """Return one ``text_completion`` event per answer with news."""
        encoded = []
        self._hear(index, output)
        for out in output.outputs:
            number = index * self._n + out.index
            first = number not in self._begun
            news = out.text or out.logprobs or out.finish_reason or (self._ids and out.token_ids)
            if not (news or (first and self._echo)):
                continue  # tokens that are no whole character yet
            choice = self._choice(index, output, out)
            counts = usage_of(self._counted(usage)) if self._each_usage else None
            encoded.append(replies.encode(self._envelope([choice], counts)))
        return encoded

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the event without choices that carries the token counts."""
        return replies.encode(self._envelope([], usage_of(self._counted(usage))))

    def _hear(self, index: int, output: RequestOutput) -> None:
        if output.prompt_logprobs is not None:
            self._heard[index] = output

    def _envelope(
        self, choices: list[replies.CompletionChoice], usage: replies.Usage | None
    ) -> replies.Completion:
        return replies.Completion(
            id=self._id,
            object="text_completion",
            created=self._created,
            model=self._service.model,
            choices=choices,
            system_fingerprint=self._service.fingerprint,
            usage=usage if usage is not None or self._usage else UNSET,
        )

    def _choice(self, index: int, output: RequestOutput, out: CompletionOutput) -> replies.CompletionChoice:
        number = index * self._n + out.index
        first = number not in self._begun
        self._begun.add(number)
        echoed = self._prompt_text(index, output) if first and self._echo else ""
        if first:
            self._shift[number] = len(echoed)
        text = "" if self._nothing else out.text
        heard = self._heard.get(index, output) if first else output
        return replies.CompletionChoice(
            index=number,
            text=echoed + text,
            logprobs=self._logprobs(number, heard, out, first),
            finish_reason="length" if self._nothing and out.finish_reason else finish_reason(out),
            stop_reason=UNSET if self._nothing else stop_reason(out),
            token_ids=([] if self._nothing else list(out.token_ids)) if self._ids else UNSET,
            prompt_token_ids=list(output.prompt_token_ids) if self._ids and first else UNSET,
            prompt_logprobs=prompt_scores(heard) if self._prompt_scores and first else UNSET,
        )

    def _prompt_text(self, index: int, output: RequestOutput) -> str:
        given = self._prompts[index]
        if isinstance(given, str):
            return given
        return self._service.engine.tokenizer.decode(given, skip_special_tokens=False)

    def _logprobs(
        self, number: int, output: RequestOutput, out: CompletionOutput, first: bool
    ) -> replies.CompletionLogprobs | None:
        if self._scores is None:
            return None
        entries: list[TokenLogprob | None] = []
        offsets: list[int] = []
        if first and self._echo and output.prompt_logprobs is not None:
            entries += output.prompt_logprobs
            offsets += [0 if entry is None else entry.offset for entry in output.prompt_logprobs]
        if not self._nothing:
            entries += out.logprobs or ()
            offsets += [entry.offset + self._shift[number] for entry in out.logprobs or ()]
        first_token = output.prompt_token_ids[0]
        return replies.CompletionLogprobs(
            tokens=[self._token(first_token) if entry is None else entry.token for entry in entries],
            token_logprobs=[None if entry is None else finite(entry.logprob) for entry in entries],
            top_logprobs=[_top(entry) for entry in entries] if self._scores else None,
            text_offset=offsets,
        )

    def _token(self, token_id: int) -> str:
        return self._service.engine.tokenizer.token_text(token_id)

    def _counted(self, usage: Usage) -> Usage:
        if not self._nothing:
            return usage
        return Usage(prompt_tokens=usage.prompt_tokens, cached_tokens=usage.cached_tokens)


def _top(entry: TokenLogprob | None) -> dict[str, float] | None:
    if entry is None:
        return None
    found: dict[str, float] = {}
    for one in entry.top:  # best first: of tokens that look alike the likelier one is shown
        found.setdefault(one.token, finite(one.logprob))
    found.setdefault(entry.token, finite(entry.logprob))
    return found
