"""Recipes: the shape of a model, its curriculum and its optimiser, as plain values."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a Llama-style model with tied embeddings."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    context: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the curriculum.

    Attributes:
        rows: sequences in a batch.
        length: tokens in a sequence.
        steps: optimiser steps.
        peak: learning rate after the warm-up.
        floor: learning rate at the end of the cosine.
        turns: draw the least number of turns evenly from 1 to this; None for the natural distribution.
    """

    rows: int
    length: int
    steps: int
    peak: float
    floor: float
    turns: int | None = None

    @property
    def tokens(self) -> int:
        """Token positions that the stage processes, padding included."""
        return self.rows * self.length * self.steps


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a trained model, besides the data generators."""

    name: str
    shape: Shape
    stages: tuple[Stage, ...]
    seed: int = 1
    warmup: int = 100
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    prompt_weight: float = 0.1
    weights: dict[str, float] | None = field(default=None)

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)


CHAT = Recipe(
    name="penstock-chat",
    shape=Shape(256, 6, 4, 2, 64, 640, 3072, 2048),
    stages=(
        Stage(16, 256, 2356, 2.0e-3, 6.0e-4),
        Stage(8, 512, 1500, 8.0e-4, 5.0e-5),
        Stage(2, 2048, 460, 5.0e-4, 1.0e-5, turns=60),
    ),
)
"""The bundled default: about five million parameters, an hour and a half on one core."""

SMOKE = Recipe(
    name="smoke",
    shape=Shape(32, 2, 2, 1, 16, 64, 512, 256),
    stages=(Stage(4, 64, 6, 3.0e-3, 1.0e-3), Stage(2, 128, 4, 1.0e-3, 1.0e-4)),
    warmup=2,
)
"""A few seconds of training, for tests and continuous integration."""

RECIPES: dict[str, Recipe] = {"chat": CHAT, "smoke": SMOKE}
"""Recipes by the name used on the command line."""
