"""What a model lies in: a folder of safetensors or one GGUF file, behind one protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch

from penstock.core.errors import ConfigError
from penstock.models.checkpoint import Checkpoint
from penstock.models.families import adapter_for
from penstock.models.quantised import format_of
from penstock.models.quantised.reader import QuantisedCheckpoint
from penstock.models.source import Source


class ModelFiles(Protocol):
    """A model on disk."""

    def raw(self) -> dict[str, Any]:
        """Return the config as it is written: what tells this model from others.

        Raises:
            ConfigError: it is missing, unreadable, or names no supported architecture or quantisation.
        """
        ...

    def config(self) -> Any:
        """Return the transformers config.

        Raises:
            ConfigError: see `raw`; or transformers objects to it.
        """
        ...

    def generation(self) -> dict[str, Any]:
        """Return the generation config; empty if there is none."""
        ...

    def source(self, prefixes: tuple[str, ...], dtype: torch.dtype) -> Source:
        """Open the weights.

        Args:
            prefixes: see `Checkpoint`.
            dtype: of the matrices that codes stand for.

        Raises:
            ConfigError: there are none, or they cannot be read.
        """
        ...

    def weights(self) -> list[Path]:
        """Return the files that the weights lie in."""
        ...

    def stamps(self) -> list[tuple[str, int, int]]:
        """Return names, sizes and times of the weight files: they change when the weights do."""
        ...


class Folder:
    """A folder as Hugging Face libraries save it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def raw(self) -> dict[str, Any]:
        """See `ModelFiles.raw`."""
        path = self._path / "config.json"
        if not path.is_file():
            raise ConfigError("model.model", f"{self._path} holds no config.json")
        raw = _read_json(path)
        adapter_for(raw.get("architectures") or [])
        if raw.get("quantization_config"):
            format_of(raw["quantization_config"])
        return raw

    def config(self) -> Any:
        """See `ModelFiles.config`."""
        self.raw()
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self._path)
        except Exception as error:  # Whatever transformers objects to, it is this file.
            path = self._path / "config.json"
            raise ConfigError("model.model", f"{path} is not valid: {error}") from error

    def generation(self) -> dict[str, Any]:
        """See `ModelFiles.generation`."""
        path = self._path / "generation_config.json"
        return _read_json(path) if path.is_file() else {}

    def source(self, prefixes: tuple[str, ...], dtype: torch.dtype) -> Source:
        """See `ModelFiles.source`."""
        plain, quantised = Checkpoint(self._path, prefixes), self.raw().get("quantization_config")
        return QuantisedCheckpoint(plain, format_of(quantised), dtype) if quantised else plain

    def weights(self) -> list[Path]:
        """See `ModelFiles.weights`; an index is one of them."""
        return sorted(self._path.glob("*.safetensors*"))

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `ModelFiles.stamps`."""
        return [stamp(path) for path in self.weights()]


def stamp(path: Path) -> tuple[str, int, int]:
    """Return name, bytes and nanoseconds of the last change."""
    stat = path.stat()
    return path.name, stat.st_size, stat.st_mtime_ns


def files_at(path: Path) -> ModelFiles:
    """Return the files of a model.

    Raises:
        ConfigError: a GGUF file that cannot be read.
    """
    if path.suffix.lower() == ".gguf":
        from penstock.models.quantised.gguf import GgufFile

        return GgufFile(path)
    return Folder(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError("model.model", f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError("model.model", f"{path} should hold an object, holds a {type(found).__name__}")
    return found
