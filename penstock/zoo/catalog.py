"""What the zoo holds: recipes that can be trained and models that are shipped. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from penstock.zoo import bundled_model_path
from penstock.zoo.recipes import RECIPES, Shape


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the zoo.

    Attributes:
        recipe: name for ``penstock zoo train --model``.
        model: name of the folder below ``weights``.
        parameters: number of weights, tied ones once.
        tokens: token positions that the recipe trains on.
        folder: where it is shipped, or None.
    """

    recipe: str
    model: str
    parameters: int
    tokens: int
    folder: Path | None


def parameter_count(shape: Shape) -> int:
    """Return the number of weights of a Llama-style model with tied embeddings, all experts counted."""
    attention = shape.hidden * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    mlp = 3 * shape.hidden * shape.intermediate
    if shape.experts:
        mlp = shape.experts * (mlp + shape.hidden)
    return shape.vocab * shape.hidden + shape.layers * (attention + mlp + 2 * shape.hidden) + shape.hidden


def catalog() -> list[Entry]:
    """Return every recipe with its size and, where it ships, its folder."""
    entries = []
    for name, recipe in RECIPES.items():
        try:
            folder: Path | None = bundled_model_path(recipe.name)
        except FileNotFoundError:
            folder = None
        entries.append(Entry(name, recipe.name, parameter_count(recipe.shape), recipe.tokens, folder))
    return entries
