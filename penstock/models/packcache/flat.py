"""A model's parameters by name, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.kernels.ops import Weight
from penstock.models.assemble import joined, layer_of
from penstock.models.params import BlockParams, ModelParams


def flatten(params: ModelParams) -> dict[str, Weight]:
    """Return every parameter by its name in the table; experts have their number behind it.

    A head that is the embedding itself is left out.
    """
    flat: dict[str, Weight] = {}
    places: list[tuple[str, ModelParams | BlockParams]] = [("", params)]
    places += [(f"{layer}.", block) for layer, block in enumerate(params.blocks)]
    for prefix, owner in places:
        for slot in owner.__dataclass_fields__:
            found = getattr(owner, slot)
            if slot == "blocks" or found is None or (slot == "head" and found is params.embed):
                continue
            if isinstance(found, Sequence):
                flat |= {f"{prefix}{slot}.{number}": weight for number, weight in enumerate(found)}
            else:
                flat[prefix + slot] = found
    return flat


def unflatten(flat: Mapping[str, Weight], blocks: int) -> ModelParams:
    """Return the parameters that `flatten` took apart; experts are lists.

    Raises:
        KeyError, TypeError: some are missing, or not a model's.
    """
    slots: list[dict[str, Any]] = [{} for _ in range(blocks + 1)]
    for name, weight in flat.items():
        layer, (slot, *number) = layer_of(name), name.split(".")[name[0].isdigit() :]
        if number:
            slots[layer].setdefault(slot, {})[int(number[0])] = weight
        else:
            slots[layer][slot] = weight
    for own in slots:
        own.update(
            {slot: [w for _, w in sorted(of.items())] for slot, of in own.items() if isinstance(of, dict)}
        )
    return joined(slots[-1], {i: BlockParams(**slots[i]) for i in range(blocks)}, blocks)
