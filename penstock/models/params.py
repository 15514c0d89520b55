"""The table of a model's parameters: our name and shape, and which checkpoint tensors fill it.

Fused parameters (query, key and value; gate and up; the experts of a layer) are filled piece by piece,
straight into memory of the right dtype on the right device.

Legend (shapes): V vocabulary, W embedding width, E hidden, Q query features, K KV features, F feed-forward
width, X experts, D head dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from penstock.kernels.codes import Codes
from penstock.kernels.ops import Weight

Index = tuple[slice | int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a parameter: ``param[at] = take(checkpoint[name])``."""

    name: str
    at: Index = ()
    """Where it goes; empty is everywhere."""
    take: Callable[[Tensor], Tensor] | None = None
    """Picks rows of the checkpoint tensor first, e.g. the queries of an interleaved matrix."""


Recipe = tuple[Piece, ...]

Filled = Tensor | Codes | list[Codes]
"""A parameter as the checkpoint gives it; where it stacks matrices (experts), quantised ones are a list."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of the decoder."""

    name: str
    """``embed``, or ``<layer>.<slot>`` with a slot of `BlockParams`."""
    shape: tuple[int, ...]
    recipes: tuple[Recipe, ...]
    """Ways to fill it; the first whose first tensor the checkpoint has is taken."""
    init: Literal["normal", "one", "zero"] = "normal"
    """What random weights (``load_format dummy``) put here."""


@dataclass(slots=True)
class BlockParams:
    """Weights of one block; those that the spec does not call for stay None."""

    qkv: Weight
    """``[Q + 2K, E]``."""
    out: Weight
    """``[E, Q]``."""
    qkv_bias: Tensor | None = None
    out_bias: Tensor | None = None
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None
    up: Weight | None = None
    """``[2F, E]``, gate above up, when gated; else ``[F, E]``."""
    up_bias: Tensor | None = None
    down: Weight | None = None
    """``[E, F]``."""
    down_bias: Tensor | None = None
    router: Weight | None = None
    """``[X, E]``."""
    experts_up: Tensor | Sequence[Weight] | None = None
    """``[X, 2F, E]``."""
    experts_down: Tensor | Sequence[Weight] | None = None
    """``[X, E, F]``."""
    shared_up: Weight | None = None
    shared_down: Weight | None = None
    shared_gate: Tensor | None = None
    """``[1, E]``."""
    attn_in: Tensor | None = None
    attn_in_bias: Tensor | None = None
    attn_out: Tensor | None = None
    attn_out_bias: Tensor | None = None
    attn_sum: Tensor | None = None
    attn_sum_bias: Tensor | None = None
    mlp_in: Tensor | None = None
    mlp_in_bias: Tensor | None = None
    mlp_out: Tensor | None = None
    mlp_out_bias: Tensor | None = None
    mlp_sum: Tensor | None = None
    mlp_sum_bias: Tensor | None = None

    def dense(self) -> tuple[Weight | None, ...]:
        """Return the matrices that every row is multiplied with."""
        return self.qkv, self.out, self.up, self.down


@dataclass(slots=True)
class ModelParams:
    """Weights of a whole decoder."""

    embed: Weight
    """``[V, W]``."""
    head: Weight
    """``[V, W]``; the same as ``embed`` when tied, unless only one of them could be packed or rounded."""
    blocks: list[BlockParams]
    positions: Tensor | None = None
    project_in: Weight | None = None
    """``[E, W]``."""
    project_out: Weight | None = None
    """``[W, E]``."""
    final: Tensor | None = None
    final_bias: Tensor | None = None


def whole(*names: str) -> tuple[Recipe, ...]:
    """Return recipes that fill a parameter with one checkpoint tensor, known under any of the names."""
    return tuple((Piece(name),) for name in names)


def stacked(*pieces: tuple[str, int]) -> Recipe:
    """Return a recipe that stacks checkpoint tensors along the first axis; pieces are (name, rows)."""
    recipe, start = [], 0
    for name, rows in pieces:
        recipe.append(Piece(name, (slice(start, start + rows),)))
        start += rows
    return tuple(recipe)
