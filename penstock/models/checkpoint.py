"""Reading tensors of a safetensors folder through memory maps, and filling parameters with them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.codes import Codes, stack
from penstock.models.params import Filled, Param, Piece, Recipe
from penstock.models.source import Source

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class Checkpoint:
    """The tensors of a model folder, by name; files are mapped when first needed.

    Args:
        folder: holds ``model.safetensors``, or the index and its shards.
        prefixes: the first is taken off a name that is not found as it stands, and the others are tried in
            its place (base models and text parts of larger models are saved under other prefixes).

    Raises:
        ConfigError: no safetensors file, an unreadable index, or a shard that the index names is missing.
    """

    def __init__(self, folder: Path, prefixes: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._prefixes = prefixes
        self._files: dict[str, Any] = {}
        self._file_of = self._read_index()

    def _read_index(self) -> dict[str, str]:
        index = self._folder / INDEX
        if index.is_file():
            try:
                weight_map = dict(json.loads(index.read_text())["weight_map"])
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError("model.model", f"{index} is not a valid index: {error!r}") from error
            missing = sorted({name for name in weight_map.values() if not (self._folder / name).is_file()})
            if missing:
                raise ConfigError(
                    "model.model",
                    f"{self._folder} lacks shards that {INDEX} names: {', '.join(missing[:5])}",
                )
            return weight_map
        files = [SINGLE] if (self._folder / SINGLE).is_file() else []
        files = files or sorted(path.name for path in self._folder.glob("*.safetensors"))
        if not files:
            raise ConfigError(
                "model.model", f"{self._folder} holds no {SINGLE} and no {INDEX}; only safetensors are read"
            )
        return {name: file for file in files for name in self._open(file).keys()}  # noqa: SIM118

    def _open(self, file: str) -> Any:
        if file not in self._files:
            try:
                self._files[file] = safe_open(self._folder / file, framework="pt", device="cpu")
            except (SafetensorError, OSError) as error:
                raise ConfigError(
                    "model.model", f"{self._folder / file} is corrupt or unreadable: {error}"
                ) from error
        return self._files[file]

    def find(self, name: str) -> str | None:
        """Return the name under which the checkpoint holds the tensor, or None."""
        if name in self._file_of:
            return name
        bare = name.removeprefix(self._prefixes[0]) if self._prefixes else name
        for prefix in self._prefixes:
            if prefix + bare in self._file_of:
                return prefix + bare
        return None

    def quantised(self, name: str) -> bool:
        """Return False: tensors are what they are here."""
        return False

    def read(self, name: str) -> Tensor:
        """Return a tensor, mapped from its file.

        Raises:
            ConfigError: there is no such tensor, or its shard is corrupt.
        """
        found = self.find(name)
        if found is None:
            raise ConfigError("model.model", f"{self._folder} holds no tensor {name!r}")
        file = self._file_of[found]
        try:
            tensor: Tensor = self._open(file).get_tensor(found)
        except (SafetensorError, OSError) as error:
            raise ConfigError(
                "model.model", f"{self._folder / file}: tensor {found!r} cannot be read: {error}"
            ) from error
        return tensor

    def close(self) -> None:
        """Drop the maps."""
        self._files.clear()


def _recipe_for(param: Param, source: Source) -> Recipe:
    for recipe in param.recipes:
        if source.find(recipe[0].name) is not None:
            return recipe
    return param.recipes[0]


def fill(param: Param, source: Source, dtype: torch.dtype, device: torch.device) -> Filled:
    """Return a parameter as the checkpoint has it.

    One whose pieces are all quantised stays so if they can be stacked; any other is spelled out.

    Raises:
        ConfigError: a tensor is missing, unreadable, or of another shape than the config calls for.
    """
    recipe = _recipe_for(param, source)
    if len(param.shape) > 1 and all(source.quantised(piece.name) for piece in recipe):
        coded = _stacked(param, recipe, source, device)
        if coded is not None:
            return coded
    target = torch.empty(param.shape, dtype=dtype, device=device)
    for piece in recipe:
        view = target[piece.at] if piece.at else target
        part = _part(piece, source, view.shape)
        view.copy_(part.dequantised() if isinstance(part, Codes) else part)
    return target


def _stacked(
    param: Param, recipe: Recipe, source: Source, device: torch.device
) -> Codes | list[Codes] | None:
    """Return the pieces as one quantised matrix, or one per place of the first axis; None if some cannot."""
    places = torch.arange(math.prod(param.shape[:-1])).view(param.shape[:-1])
    spots = [places[piece.at] if piece.at else places for piece in recipe]
    found = sorted(zip(spots, recipe, strict=True), key=lambda one: int(one[0].min()))
    rows = param.shape[-2]
    whole: list[Codes | None] = []
    parts: list[Codes] = []
    for spot, piece in found:
        part = _part(piece, source, torch.Size((*spot.shape, param.shape[-1])))
        assert isinstance(part, Codes)
        parts.append(part)
        if (int(spot.max()) + 1) % rows == 0:
            whole.append(stack(parts))
            parts = []
    if any(one is None for one in whole):
        return None
    there = [one.to(device) for one in whole if one is not None]
    return there if len(param.shape) > 2 else there[0]


def _part(piece: Piece, source: Source, shape: torch.Size) -> Tensor | Codes:
    """Read a piece of the given shape."""
    found = source.read(piece.name)
    try:
        part = found if piece.take is None else _taken(found, piece.take)
        fits = part.shape == shape
    except (RuntimeError, IndexError):
        fits = False
    if fits:
        return part
    shown = "x".join(map(str, shape)) if piece.take is None else "another shape"
    raise ConfigError(
        "model.model",
        f"tensor {piece.name!r} is {'x'.join(map(str, found.shape))}, the config calls for {shown}",
    )


def _taken(found: Tensor | Codes, take: Callable[[Tensor], Tensor]) -> Tensor | Codes:
    return found.rows(take(torch.arange(found.shape[0]))) if isinstance(found, Codes) else take(found)


def draw(param: Param, dtype: torch.dtype, generator: torch.Generator, std: float = 0.02) -> Tensor:
    """Return a random parameter of the right shape, on the generator's device."""
    target = torch.empty(param.shape, dtype=dtype, device=generator.device)
    if param.init == "normal":
        return target.normal_(0.0, std, generator=generator)
    return target.fill_(1.0 if param.init == "one" else 0.0)
