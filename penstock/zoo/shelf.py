"""What there is in the zoo: every model and adapter, what it is for, and what makes it. Imports no torch."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.zoo import bundled_model_path
from penstock.zoo.adapters import ADAPTERS, shipped_adapters
from penstock.zoo.catalog import catalog

PURPOSES = {
    "chat": "answers: the default of the server",
    "chat-skills": "the same, trained further from the shipped weights",
    "chat-large": "answers better: five times the default, for a GPU",
    "small": "answers worse and faster: routing, judging, hand-off",
    "draft": "guesses ahead for penstock-chat: speculative decoding",
    "moe": "answers by 8 experts, two at a time: expert offload",
    "ranker": "tells from a prompt which answer will be longer: the order ltr",
    "embedder": "turns texts into vectors: retrieval",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One model or adapter.

    Attributes:
        name: of its folder.
        purpose: what it is for.
        parameters: how many weights; None where nobody knows before it is made.
        size: bytes on disk; None where it is not shipped.
        recipe: makes it, as ``penstock zoo train --model RECIPE``.
    """

    name: str
    purpose: str
    parameters: int | None
    size: int | None
    recipe: str


def models() -> Iterator[Item]:
    """Yield every model, those of one folder together: first from nothing, then from what is shipped."""
    for entry in catalog():
        yield _item(entry.model, entry.folder, entry.recipe, entry.parameters)
    for name in ("ranker", "embedder"):
        yield _item(name, _shipped(name), name)


def adapters() -> Iterator[Item]:
    """Yield every adapter of the registry."""
    shipped = shipped_adapters()
    for name, adapter in ADAPTERS.items():
        folder = shipped.get(name)
        purpose = f"{adapter.does} (rank {adapter.rank})"
        yield Item(name, purpose, *_measured(folder), f"adapters --only {name}")


def parameters_in(file: Path) -> int:
    """Return the number of weights in a safetensors file, read off its header."""
    with file.open("rb") as data:
        header = json.loads(data.read(int.from_bytes(data.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _item(name: str, folder: Path | None, recipe: str, parameters: int | None = None) -> Item:
    counted, size = _measured(folder)
    return Item(name, PURPOSES.get(recipe, ""), counted or parameters, size, recipe)


def _measured(folder: Path | None) -> tuple[int | None, int | None]:
    """Return weights and bytes of a folder."""
    if folder is None:
        return None, None
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return sum(map(parameters_in, folder.glob("*.safetensors"))), size


def _shipped(name: str) -> Path | None:
    try:
        return bundled_model_path(name)
    except FileNotFoundError:
        return None
