"""Answers of ``/v1/chat/completions``, whole and in chunks."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import UNSET

from penstock.frontend.answers.reader_set import ReaderSet, Reading
from penstock.frontend.outputs import CompletionOutput, RequestOutput, Usage
from penstock.server.chat_delta import Gathered, Withheld
from penstock.server.schemas import replies
from penstock.server.schemas.chat import ChatRequest
from penstock.server.service import Service
from penstock.server.writing import chat_logprobs, finish_reason, prompt_scores, stop_reason, usage_of

_AS_TEXT = Reading()
_SILENT = replies.Delta()


class ChatWriter:
    """Puts engine outputs into OpenAI's chat form.

    Args:
        service: whose model answers.
        answer_id: the reply's ``id``.
        body: the request.
        reading: how its answers are read.
    """

    def __init__(
        self, service: Service, answer_id: str, body: ChatRequest, reading: Reading = _AS_TEXT
    ) -> None:
        options = body.stream_options
        self._id = answer_id
        self._created = int(time.time())
        self._model = service.model
        self._fingerprint = service.fingerprint
        self._ids = bool(body.return_token_ids)
        self._scores = bool(body.logprobs)
        self._usage = bool(options and options.include_usage)
        self._each_usage = bool(options and options.continuous_usage_stats)
        self._readers = ReaderSet(reading, service.engine.tokenizer)
        self._withheld = Withheld(body.include_reasoning is not False, body.stream_reasoning is not False)
        self._begun: set[int] = set()
        self._heard: RequestOutput | None = None
        last = body.turns()[-1]
        self._echo = str(last["content"]) if body.echo and last["role"] == "assistant" else ""

    def whole(self, outputs: Sequence[RequestOutput], usage: Usage) -> bytes:
        """Return the ``chat.completion`` object."""
        output = outputs[0]
        return replies.encode(
            replies.ChatCompletion(
                id=self._id,
                object="chat.completion",
                created=self._created,
                model=self._model,
                choices=[self._choice(out) for out in output.outputs],
                usage=self._usage_of(usage),
                system_fingerprint=self._fingerprint,
                prompt_logprobs=prompt_scores(output),
                prompt_token_ids=list(output.prompt_token_ids) if self._ids else UNSET,
            )
        )

    def _choice(self, out: CompletionOutput) -> replies.ChatChoice:
        return replies.ChatChoice(
            index=out.index,
            message=self._news(out).message(self._echo),
            logprobs=self._logprobs(out),
            finish_reason=finish_reason(out, self._readers.called(out.index)) or "",
            stop_reason=stop_reason(out),
            token_ids=list(out.token_ids) if self._ids else UNSET,
        )

    def chunks(self, index: int, output: RequestOutput, usage: Usage) -> list[bytes]:
        """Return one ``chat.completion.chunk`` per answer with news."""
        encoded = []
        if output.prompt_logprobs is not None:
            self._heard = output
        for out in output.outputs:
            first = out.index not in self._begun
            delta = self._news(out).delta(first, self._echo if first else "")
            if not (_says_something(delta) or out.logprobs or out.finish_reason or self._told_ids(out)):
                continue  # tokens that are no whole character yet, or may be markup
            encoded.append(replies.encode(self._chunk(out, output, delta, usage)))
            self._begun.add(out.index)
        return encoded

    def _news(self, out: CompletionOutput) -> Gathered:
        events = self._readers.read(out)
        return Gathered(self._withheld.sift(out.index, events, last=out.finish_reason is not None))

    def _told_ids(self, out: CompletionOutput) -> bool:
        return self._ids and bool(out.token_ids)

    def _chunk(
        self, out: CompletionOutput, output: RequestOutput, delta: replies.Delta, usage: Usage
    ) -> replies.ChatChunk:
        first = out.index not in self._begun
        choice = replies.ChunkChoice(
            index=out.index,
            delta=delta,
            logprobs=self._logprobs(out),
            finish_reason=finish_reason(out, self._readers.called(out.index)),
            stop_reason=stop_reason(out),
            token_ids=list(out.token_ids) if self._ids else UNSET,
        )
        return self._envelope(
            [choice],
            self._usage_of(usage) if self._each_usage else None,
            prompt_logprobs=prompt_scores(self._heard) if first and self._heard else UNSET,
            prompt_token_ids=list(output.prompt_token_ids) if self._ids and first else UNSET,
        )

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the chunk without choices that carries the token counts."""
        return replies.encode(self._envelope([], self._usage_of(usage)))

    def _envelope(
        self, choices: list[replies.ChunkChoice], usage: replies.Usage | None, **extra: object
    ) -> replies.ChatChunk:
        return replies.ChatChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._model,
            system_fingerprint=self._fingerprint,
            choices=choices,
            usage=usage if usage is not None or self._usage else UNSET,
            **extra,  # type: ignore[arg-type]
        )

    def _logprobs(self, out: CompletionOutput) -> replies.ChatLogprobs | None:
        if not self._scores:
            return None
        return chat_logprobs(out)

    def _usage_of(self, usage: Usage) -> replies.Usage:
        return usage_of(usage, self._readers.reasoning_tokens())


def _says_something(delta: replies.Delta) -> bool:
    return delta != _SILENT
