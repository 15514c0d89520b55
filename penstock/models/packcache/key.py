"""What decides the packed weights of a model, as a name: equal names, equal bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from penstock.kernels import codes
from penstock.kernels.native import ops, packed
from penstock.models.files import ModelFiles, stamp
from penstock.models.pack import Rounding

_MOST_HEAD = 64 * 2**20
"""Bytes of a weight file's beginning that are read: safetensors headers of mixtures take a few megabytes."""


def content_key(files: ModelFiles, dtype: torch.dtype, rounding: Rounding) -> str:
    """Return a name that changes with everything that the packed weights come from.

    That is: the weight files (path, size, time, and the table at their beginning), the config and the library
    that completes it, the dtype, the rounding, the layout of the kernels, and the code in between. A file
    that is exchanged for one of equal path, size, time and tensors is not noticed.

    Raises:
        OSError: a weight file cannot be read.
    """
    told = [(str(path.resolve()), *stamp(path), _head(path)) for path in files.weights()]
    config = (files.raw(), version("transformers"))
    parts = (told, config, dtype, rounding, packed.layout_version(), _code())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _head(path: Path) -> str:
    """Return a digest of the table of a safetensors file, or of the beginning of any other."""
    with path.open("rb") as file:
        size = 2**20
        if path.suffix == ".safetensors":
            size = min(int.from_bytes(file.read(8), "little"), _MOST_HEAD)
        return hashlib.sha256(file.read(size)).hexdigest()


@cache
def _code() -> str:
    """Return a digest of the code behind the weights, so that nobody has to remember to raise a number."""
    own = Path(__file__).parents[1]
    return _digest([*sorted(own.rglob("*.py")), *(Path(str(m.__file__)) for m in (codes, packed, ops))])


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()
