"""Batches made ahead of time in a process of their own, in the order of steps."""

import os
import signal
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from penstock.zoo.packing import Batch, make_batch
from penstock.zoo.recipes import Recipe, Stage
from penstock.zoo.team import Team

_AHEAD = 8


class _Steps(Dataset[Batch]):
    """The batches of a stage by their number over the whole recipe."""

    def __init__(self, tokenizer: Any, recipe: Recipe, stage: Stage) -> None:
        self.tokenizer, self.recipe, self.stage = tokenizer, recipe, stage

    def __getitem__(self, number: int) -> Batch:
        return make_batch(self.tokenizer, self.recipe, self.stage, number)


def _begin(_: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # A run that is told to stop, with all its processes, finishes its step and saves: it still needs batches.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def batches(
    tokenizer: Any, recipe: Recipe, stage: Stage, first: int, workers: int = 0, team: Team | None = None
) -> Iterator[Batch]:
    """Yield the batches of ``stage`` from step ``first`` on, for as long as the stage may last.

    Args:
        tokenizer: the run's tokenizer.
        recipe: gives the seed.
        stage: gives shape and mix.
        first: step, counted over the whole recipe.
        workers: processes that work ahead; 0 makes each batch when it is asked for.
        team: who shares the work of a step: each process takes its own batch.
    """
    team = team or Team()
    loader = DataLoader(
        _Steps(tokenizer, recipe, stage),
        batch_size=None,
        sampler=range(first * team.size + team.rank, (first + stage.steps) * team.size, team.size),
        num_workers=workers,
        prefetch_factor=_AHEAD if workers else None,
        worker_init_fn=_begin if workers else None,
    )
    yield from loader
