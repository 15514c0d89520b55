"""Prompts are scored by expected answer length before they are submitted: in batches, off the event loop."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from penstock.config.settings import Config
from penstock.engine.messages import EngineInfo

if TYPE_CHECKING:
    from penstock.predict.ranker import LengthRanker

log = logging.getLogger(__name__)
SAY_EVERY = 1000
"""Prompts between two lines in the log about the time that scoring takes."""


class Scores(Protocol):
    """What is asked of a ranker."""

    seconds: float
    scored: int

    def score(self, prompts: list[tuple[int, ...]]) -> list[float]:
        """Return one score per prompt, larger for longer answers."""
        ...


def load_ranker(config: Config, info: EngineInfo) -> LengthRanker | None:
    """Load the ranker that the settings name, if any.

    Raises:
        ConfigError: it cannot be read or is not of this model's vocabulary.
    """
    if not config.model.ranker:
        return None
    from penstock.predict.ranker import LengthRanker, ranker_folder

    return LengthRanker.load(ranker_folder(config.model.ranker), info.vocab_size)


def load_scorer(config: Config, info: EngineInfo) -> Scorer | None:
    """Return a `Scorer` around the ranker that the settings name, if any. Raises as `load_ranker`."""
    ranker = load_ranker(config, info)
    return None if ranker is None else Scorer(ranker)


class Scorer:
    """Collects the prompts that come while a batch is being scored into the next one.

    All methods belong to one event loop.

    Args:
        ranker: called in a thread of its own.
    """

    def __init__(self, ranker: Scores) -> None:
        self._ranker = ranker
        self._thread = ThreadPoolExecutor(1, "penstock-rank")
        self._waiting: list[tuple[tuple[int, ...], asyncio.Future[float | None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._said = 0

    async def score(self, prompt_ids: tuple[int, ...]) -> float | None:
        """Return a prompt's score; None if scoring failed, which does not stop the request."""
        future: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt_ids, future))
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            prompts = [ids for ids, _ in batch]
            scores: list[float | None]
            try:
                scores = [
                    *await asyncio.get_running_loop().run_in_executor(
                        self._thread, self._ranker.score, prompts
                    )
                ]
            except Exception:
                log.exception("the ranker failed; %d requests go without a score", len(batch))
                scores = [None] * len(batch)
            for (_, future), score in zip(batch, scores, strict=True):
                if not future.done():  # its caller may have gone
                    future.set_result(score)
            self._say()

    def _say(self) -> None:
        if self._ranker.scored >= self._said + SAY_EVERY or not self._said:
            self._said = self._ranker.scored
            mean = 1e3 * self._ranker.seconds / max(1, self._ranker.scored)
            log.info("scored %d prompts by expected length, %.2f ms each", self._ranker.scored, mean)

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
