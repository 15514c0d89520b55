"""One completion in the making: tokens in, text with stop strings and log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.output import Finish, FinishReason, Output
from penstock.frontend.outputs import CompletionOutput, TokenLogprob
from penstock.frontend.params import GenerationParams
from penstock.frontend.text.logprobs import dress
from penstock.frontend.text.stops import StopMatcher, StopPattern
from penstock.frontend.text.tokenizer import Tokenizer


class Completion:
    """Follows one sequence. What was not taken yet is merged, so memory is bounded by the output's length.

    Args:
        index: which of the ``n``.
        tokenizer: turns tokens into text.
        params: the request's.
        patterns: its stop strings, compiled once for all ``n``.
    """

    def __init__(
        self, index: int, tokenizer: Tokenizer, params: GenerationParams, patterns: Sequence[StopPattern]
    ) -> None:
        self.index = index
        self._tokenizer = tokenizer
        self._params = params
        self._detokenizer = tokenizer.detokenizer(
            skip_special_tokens=params.skip_special_tokens, shown=params.shown_special_tokens
        )
        self._stops = StopMatcher(patterns, params.include_stop_str_in_output)
        self._offset = 0
        """Characters of text so far, including what the stop matcher holds back."""
        self.tokens = 0
        """Tokens of the completion so far; those after a stop string do not count."""
        self.finished = False
        self._text: list[str] = []
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._end: Output | None = None

    def push(self, output: Output) -> bool:
        """Take news of the sequence.

        Returns:
            Whether it should be cancelled now because a stop string is complete.
        """
        if self.finished:
            return False
        had_stop = self._stops.found is not None
        stop_token = output.finish.stop_token if output.finish is not None else None
        for i, token in enumerate(output.tokens):
            if self._stops.found is not None:
                break
            is_stop = stop_token is not None and i == len(output.tokens) - 1
            self._push_token(token, output, i, hide=is_stop and not self._params.include_stop_str_in_output)
        if output.finish is not None:
            self._finish(output)
        return self._stops.found is not None and not had_stop and output.finish is None

    def _push_token(self, token: int, output: Output, position: int, hide: bool) -> None:
        piece = "" if hide else self._detokenizer.push(token)
        if self._params.logprobs is not None and output.logprobs is not None:
            self._logprobs.append(dress(self._tokenizer, output.logprobs[position], self._offset))
        self._offset += len(piece)
        self.tokens += 1
        self._ids.append(token)
        # Stop strings do not count before min_tokens, as stop ids do not.
        self._text.append(self._stops.push(piece) if self.tokens > self._params.min_tokens else piece)

    def _finish(self, output: Output) -> None:
        self.finished, self._end = True, output
        if self._stops.found is None:
            self._text.append(self._stops.push(self._detokenizer.flush()))
            self._text.append(self._stops.flush())

    def fail(self, detail: str) -> None:
        """End it with an error of the front's own."""
        self.finished = True
        self._end = Output("", finish=Finish(FinishReason.ERROR, detail))

    def take(self) -> CompletionOutput | None:
        """Return the news since the last call, or None."""
        text = "".join(self._text)
        if not (text or self._ids or self._end):
            return None
        news = CompletionOutput(
            index=self.index,
            text=text,
            token_ids=tuple(self._ids),
            logprobs=tuple(self._logprobs) if self._params.logprobs is not None else None,
        )
        self._text, self._ids, self._logprobs = [], [], []
        if self._end is not None:
            self._describe_end(news, self._end)
            self._end = None
        return news

    def _describe_end(self, news: CompletionOutput, end: Output) -> None:
        finish = end.finish
        assert finish is not None
        news.timeline, news.preemptions = finish.timeline, finish.preemptions
        if self._stops.found is not None:  # complete, whatever became of the sequence afterwards
            news.finish_reason, news.stop_reason = FinishReason.STOP, self._stops.found
            return
        news.finish_reason, news.detail = finish.reason, finish.detail
        if finish.stop_token in self._params.stop_token_ids:
            news.stop_reason = finish.stop_token
