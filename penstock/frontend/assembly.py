"""One request in the making: its ``n`` completions, prompt scores and usage, put together from outputs."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.output import Output
from penstock.core.plan import TokenLogprobs
from penstock.core.request import RequestSpec
from penstock.frontend.completion import Completion
from penstock.frontend.outputs import RequestOutput, TokenLogprob, Usage
from penstock.frontend.params import GenerationParams
from penstock.frontend.pooling import Pool
from penstock.frontend.text.logprobs import dress_prompt
from penstock.frontend.text.stops import StopPattern
from penstock.frontend.text.tokenizer import Tokenizer


class Assembly:
    """Follows all sequences of one request; no I/O, used offline and online alike.

    Args:
        request_id: the request's.
        specs: its sequences.
        prompt: its text, if it came as text.
        params: its parameters.
        tokenizer: turns tokens into text.
    """

    def __init__(
        self,
        request_id: str,
        specs: Sequence[RequestSpec],
        prompt: str | None,
        params: GenerationParams,
        tokenizer: Tokenizer,
    ) -> None:
        self.request_id = request_id
        self.prompt = prompt
        self.prompt_ids = specs[0].prompt_ids
        self._tokenizer = tokenizer
        patterns = [StopPattern(text) for text in params.stop]
        self._completions = {
            spec.id: Completion(index, tokenizer, params, patterns) for index, spec in enumerate(specs)
        }
        self._unfinished = len(specs)
        self._cached = 0
        self._prompt_scores: list[TokenLogprobs] | None = [] if params.prompt_logprobs is not None else None
        self._pool = Pool() if params.pooling is not None else None
        self._terminal_taken = False

    @property
    def finished(self) -> bool:
        """Whether every completion has ended."""
        return self._unfinished == 0

    def live_ids(self) -> list[str]:
        """Return the ids of sequences that have not ended."""
        return [request_id for request_id, one in self._completions.items() if not one.finished]

    def push(self, output: Output) -> bool:
        """Take news of one sequence; whatever goes wrong with it ends that sequence alone.

        Returns:
            Whether the sequence should be cancelled now.
        """
        one = self._completions[output.request_id]
        if one.finished:
            return False
        if one.index == 0:
            self._cached = max(self._cached, output.cached_tokens)
        if self._prompt_scores is not None and output.prompt_logprobs:
            self._prompt_scores.extend(output.prompt_logprobs)
        if self._pool is not None and output.pooled is not None:
            self._pool.push(output.pooled)
        try:
            cancel = one.push(output)
        except Exception as error:  # a tokenizer is foreign code: its fault must not take others along
            one.fail(f"turning its tokens into text failed: {type(error).__name__}: {error}")
            cancel = output.finish is None
        if one.finished:
            self._unfinished -= 1
        return cancel

    def take(self) -> RequestOutput | None:
        """Return the news since the last call, or None; after the one with ``finished`` always None."""
        if self._terminal_taken:
            return None
        news = [taken for one in self._completions.values() if (taken := one.take()) is not None]
        if not news:
            return None
        self._terminal_taken = self.finished
        return RequestOutput(
            request_id=self.request_id,
            prompt_token_ids=self.prompt_ids,
            prompt=self.prompt,
            outputs=news,
            usage=self.usage(),
            prompt_logprobs=self._take_prompt_scores(),
            embedding=self._pool.mean() if self._pool is not None and self.finished else None,
            finished=self.finished,
        )

    def usage(self) -> Usage:
        """Return the token counts so far."""
        return Usage(
            prompt_tokens=len(self.prompt_ids),
            completion_tokens=sum(one.tokens for one in self._completions.values()),
            cached_tokens=self._cached,
        )

    def _take_prompt_scores(self) -> tuple[TokenLogprob | None, ...] | None:
        """Return the prompt's scores, once: when they are complete, or with the end of the request."""
        scores = self._prompt_scores
        if scores is None or (len(scores) < len(self.prompt_ids) - 1 and not self.finished):
            return None
        self._prompt_scores = None
        # A prompt computed again after a preemption may be scored again; the first scores count.
        return dress_prompt(self._tokenizer, self.prompt_ids, scores[: len(self.prompt_ids) - 1])
