"""From a table of parameters to those of a model, packed as they come: one block at a time is unpacked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from penstock.models.pack import Packer
from penstock.models.params import BlockParams, Filled, ModelParams, Param
from penstock.models.spec import ModelSpec

Fill = Callable[[Param], Filled]
"""From an entry of the table to the parameter."""


def assemble(table: Iterable[Param], spec: ModelSpec, fill: Fill, packer: Packer) -> ModelParams:
    """Fill and pack the parameters of a model, in the order of the table.

    Raises:
        ConfigError: see `penstock.models.checkpoint.fill`.
    """
    table = tuple(table)
    left = Counter(layer_of(param.name) for param in table)
    slots: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    blocks: dict[int, BlockParams] = {}
    for param in table:
        layer = layer_of(param.name)
        slots[layer][param.name.rpartition(".")[2]] = fill(param)
        left[layer] -= 1
        if layer >= 0 and not left[layer]:
            blocks[layer] = BlockParams(**slots.pop(layer))
            packer.block(blocks[layer], spec.blocks[layer])
    params = joined(slots.pop(-1), blocks, len(spec.blocks))
    packer.edges(params)
    return params


def layer_of(name: str) -> int:
    """Return the number of the block that a parameter belongs to, -1 for none."""
    first, dot, _ = name.partition(".")
    return int(first) if dot else -1


def joined(edges: dict[str, Any], blocks: Mapping[int, BlockParams], count: int) -> ModelParams:
    """Return a model's parameters; without a head the embedding is the head too."""
    edges.setdefault("head", edges["embed"])
    return ModelParams(**edges, blocks=[blocks[layer] for layer in range(count)])
