"""The shipped ranker's recipe: ``penstock zoo train --model ranker``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from penstock.predict.card import Made, card
from penstock.predict.evaluation import RankerScore, score_samples
from penstock.predict.model import RankerConfig
from penstock.predict.ranker import SHIPPED, LengthRanker
from penstock.predict.requests import bundled_tokenizer, reference_samples
from penstock.predict.traffic import read_traffic
from penstock.predict.train import Epoch, Training, train
from penstock.zoo.tool import changes, command, hardware, trainer_parser


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the shipped ranker, besides the data generators."""

    requests: int = 40000
    tested: int = 1000
    """Held-out requests that it is measured on."""
    width: int = 48
    pairs: int = 4096
    epochs: int = 10
    batch: int = 64
    seed: int = 1

    @property
    def training(self) -> Training:
        """How the network is fitted."""
        return Training(epochs=self.epochs, batch=self.batch, seed=self.seed)


SMOKE = Recipe(requests=200, tested=60, width=16, pairs=256, epochs=4, batch=16)
"""A few seconds, for tests and continuous integration."""


def fit(
    recipe: Recipe, traffic: Path | None = None, quiet: bool = False
) -> tuple[LengthRanker, RankerScore, list[Epoch]]:
    """Train by ListMLE and measure on held-out requests.

    Args:
        recipe: sizes and seeds.
        traffic: recorded answers to learn from besides the reference answers.
        quiet: no progress bars.

    Returns:
        The ranker, what it came to, and what each epoch came to.

    Raises:
        ConfigError: the traffic cannot be read.
    """
    from rich.progress import Progress

    tokenizer = bundled_tokenizer()
    epochs: list[Epoch] = []
    with Progress(disable=quiet) as bar:
        drawn = bar.add_task("requests", total=recipe.requests)
        _, samples = reference_samples(
            recipe.requests, recipe.seed, "train", tokenizer, lambda n: bar.update(drawn, completed=n)
        )
        if traffic is not None:
            samples += read_traffic(traffic)
        passes = bar.add_task("epochs", total=recipe.epochs)

        def report(epoch: Epoch) -> None:
            epochs.append(epoch)
            bar.update(passes, advance=1, description=f"epoch {epoch.number}: tau {epoch.tau:.3f}")

        config = RankerConfig(vocab_size=len(tokenizer), width=recipe.width, pairs=recipe.pairs)
        model, _ = train(samples, config, recipe.training, report)
    ranker = LengthRanker(model)
    skills, unseen = reference_samples(recipe.tested, f"evaluate:{recipe.seed}", "test", tokenizer)
    return ranker, score_samples(ranker, unseen, skills), epochs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = trainer_parser(SHIPPED, __doc__)
    parser.add_argument(
        "--traffic", type=Path, help="recorded answers (`penstock rank collect`) to learn from as well"
    )
    options = parser.parse_args(argv)
    recipe = replace(SMOKE if options.smoke else Recipe(), **changes(options))
    began = time.process_time()
    ranker, score, epochs = fit(recipe, options.traffic)
    made = Made(
        command=command(SHIPPED, options),
        requests=recipe.requests,
        recorded=len(read_traffic(options.traffic)) if options.traffic else 0,
        minutes=(time.process_time() - began) / 60,
        hardware=hardware(options),
    )
    ranker.save(options.out)
    parameters = sum(weights.numel() for weights in ranker.model.parameters())
    text = card(made, ranker.model.config, recipe.training, parameters, epochs, score)
    (options.out / "README.md").write_text(text)
    print(
        f"loss {epochs[0].loss:.3f} to {epochs[-1].loss:.3f}; Kendall's tau {score.tau:.3f} "
        f"({score.low:.3f} to {score.high:.3f}) on {score.requests} held-out requests, "
        f"{score.by_prompt_length:.3f} by prompt length; {score.milliseconds:.2f} ms a prompt; {options.out}"
    )
    for name, tau in score.within.items():
        print(f"  within {name}: {tau:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
