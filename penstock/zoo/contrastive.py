"""Training the embedder by contrast: ``penstock zoo train --model embedder``.

Source of the method: InfoNCE with in-batch negatives (van den Oord et al. 2018), in both directions as in
CLIP (Radford et al. 2021).
"""

import itertools
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from penstock.zoo import bundled_model_path
from penstock.zoo.data.meanings import PHRASED, SOURCES, Meanings, Pair, distinct
from penstock.zoo.embedder import NAME, Embedder, untrained
from penstock.zoo.embedder_card import Made, card, first_and_last
from penstock.zoo.export import export_model
from penstock.zoo.recipes import Shape
from penstock.zoo.retrieval import Encode, RetrievalScore, baseline, evaluate_embedder
from penstock.zoo.tool import changes, command, hardware, trainer_parser

_SHAPE = Shape(
    hidden=128, layers=3, heads=4, kv_heads=2, head_dim=32, intermediate=320, vocab=3072, context=512
)
_TINY = Shape(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate=64, vocab=3072, context=512)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the embedder, besides the data generators.

    Attributes:
        shape: of the model; its vocabulary is the bundled tokenizer's.
        spread: of the first token embeddings (see `untrained`).
        steps: optimiser steps.
        pairs: of different meanings in a batch, by kind: the others' texts are each query's negatives.
        mix: how often a batch is of each kind.
        alike: share of a batch of paraphrases that comes from one skill: harder negatives.
        draws: texts drawn per skill.
        temperature: that cosines are divided by.
        peak: learning rate after the warm-up; a cosine to a twentieth of it.
    """

    shape: Shape = _SHAPE
    spread: float = 10.0
    steps: int = 700
    pairs: tuple[int, int, int] = (160, 96, 64)
    mix: tuple[float, float, float] = (0.45, 0.15, 0.40)
    alike: float = 0.5
    draws: int = 8000
    temperature: float = 0.05
    peak: float = 2e-3
    warmup: int = 40
    weight_decay: float = 0.05
    clip: float = 1.0
    seed: int = 1


SMOKE = Recipe(_TINY, steps=30, pairs=(24, 16, 8), draws=300, warmup=2, peak=1e-2)
"""A few seconds, for tests and continuous integration."""


def contrast(query_NE: torch.Tensor, match_NE: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return InfoNCE of unit vectors: each row's match against all other rows', in both directions."""
    alike_NN = query_NE @ match_NE.T / temperature
    own_N = torch.arange(len(alike_NN))
    return (F.cross_entropy(alike_NN, own_N) + F.cross_entropy(alike_NN.T, own_N)) / 2


def batches(recipe: Recipe) -> Iterator[list[Pair]]:
    """Yield batches of one kind each, all meanings of a batch different, without end."""
    known = Meanings(recipe.seed, "train", recipe.draws)
    rng = random.Random(f"embedder:{recipe.seed}")
    while True:
        place = rng.choices(range(len(SOURCES)), weights=recipe.mix)[0]
        source, count = SOURCES[place], recipe.pairs[place]
        found = known.pairs(rng, source)
        if source == "paraphrase":
            same = known.pairs(rng, source, (rng.choice(PHRASED),))
            found = itertools.chain(itertools.islice(same, int(recipe.alike * count)), found)
        yield distinct(found, count)


class Training:
    """A run from scratch; the same recipe gives the same weights for the same number of threads.

    Args:
        recipe: what to train.
    """

    def __init__(self, recipe: Recipe) -> None:
        from transformers import AutoTokenizer

        self.recipe = recipe
        self.pairs = 0
        """Pairs trained on so far."""
        tokenizer = AutoTokenizer.from_pretrained(bundled_model_path())
        self.embedder = untrained(recipe.shape, tokenizer, recipe.seed, recipe.spread)
        weights = self.embedder.model.parameters()
        self._optimizer = torch.optim.AdamW(
            weights, lr=0.0, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
        )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then a cosine."""
        recipe = self.recipe
        cosine = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        return recipe.peak * (0.05 + 0.95 * cosine) * min(1.0, (step + 1) / recipe.warmup)

    def step(self, number: int, batch: Sequence[Pair]) -> float:
        """Take one optimiser step and return its loss."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate(number)
        loss = self.loss(batch)
        self.pairs += len(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.embedder.model.parameters(), self.recipe.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def loss(self, batch: Sequence[Pair]) -> torch.Tensor:
        """Return the loss of a batch."""
        query_NE = self.embedder.vectors([pair.query for pair in batch])
        match_NE = self.embedder.vectors([pair.match for pair in batch])
        return contrast(query_NE, match_NE, self.recipe.temperature)

    def fit(self, quiet: bool = False) -> list[float]:
        """Take all steps, with a progress bar; returns their losses."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        losses: list[float] = []
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, disable=quiet) as bar:
            task = bar.add_task(NAME, total=self.recipe.steps)
            for number, batch in enumerate(itertools.islice(batches(self.recipe), self.recipe.steps)):
                losses.append(self.step(number, batch))
                recent = losses[-20:]
                bar.update(task, advance=1, description=f"{NAME}: loss {sum(recent) / len(recent):.3f}")
        return losses


def table(scores: dict[str, list[RetrievalScore]]) -> Any:
    """Return a rich table of the scores of several encoders."""
    from rich.table import Table

    grid = Table("encoder", "pairs", "found first", "among the first five", "queries", "texts")
    for encoder, rows in scores.items():
        for row in rows:
            grid.add_row(
                encoder,
                row.source,
                f"{100 * row.first:.1f} % ({100 * row.first_low:.0f}-{100 * row.first_high:.0f})",
                f"{100 * row.five:.1f} % ({100 * row.five_low:.0f}-{100 * row.five_high:.0f})",
                str(row.queries),
                str(row.among),
            )
    return grid


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from rich.console import Console

    parser = trainer_parser(NAME, __doc__)
    parser.add_argument("--json", type=Path, help="also write the scores here")
    options = parser.parse_args(argv)
    recipe = replace(SMOKE if options.smoke else Recipe(), **changes(options))
    began = time.process_time()
    training = Training(recipe)
    losses = training.fit()
    minutes = (time.process_time() - began) / 60
    embedder = training.embedder
    export_model(embedder.model, embedder.tokenizer, options.out)
    first, last = first_and_last(losses)
    print(f"loss {first:.3f} to {last:.3f}; {options.out}")
    rounds, draws = (1, 300) if options.smoke else (10, 6000)
    encoders: dict[str, Encode] = {
        NAME: Embedder.load(options.out),
        "words (TF-IDF)": baseline(recipe.seed, 100 if options.smoke else 2000),
        "random weights": Training(recipe).embedder,
    }
    scores = {name: evaluate_embedder(one, recipe.seed, rounds, draws) for name, one in encoders.items()}
    Console().print(table(scores))
    made = Made(
        command=command(NAME, options),
        seed=recipe.seed,
        temperature=recipe.temperature,
        rate=recipe.peak,
        pairs=training.pairs,
        losses=losses,
        minutes=minutes,
        hardware=hardware(options),
    )
    parameters = sum(weights.numel() for weights in embedder.model.parameters())
    (options.out / "README.md").write_text(card(made, recipe.shape, parameters, scores))
    if options.json:
        rows = {name: [asdict(row) for row in found] for name, found in scores.items()}
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
