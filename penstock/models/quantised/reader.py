"""A folder whose matrices are quantised, seen as if it held them under their plain names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.codes import Codes
from penstock.models.checkpoint import Checkpoint

Part = Callable[[str], Tensor]
"""From a part's name (``scales``) to that tensor of one module; ConfigError if there is none."""

_WEIGHT = ".weight"


class Format(Protocol):
    """How one kind of checkpoint writes a quantised matrix."""

    @property
    def mark(self) -> str:
        """The part that a module has if, and only if, it is quantised."""
        ...

    def codes(self, module: str, part: Part, has: Callable[[str], bool], dtype: torch.dtype) -> Codes:
        """Return the matrix of a module.

        Raises:
            ConfigError: parts are missing or do not fit together.
        """
        ...


class QuantisedCheckpoint:
    """See the module's text. A module without the format's mark was left unquantised: lists are not needed.

    Args:
        inner: the tensors as they are.
        form: the format.
        dtype: of the matrices that codes stand for.
    """

    def __init__(self, inner: Checkpoint, form: Format, dtype: torch.dtype) -> None:
        self._inner = inner
        self._form = form
        self._dtype = dtype

    def find(self, name: str) -> str | None:
        """See `Source.find`."""
        return name if self.quantised(name) else self._inner.find(name)

    def quantised(self, name: str) -> bool:
        """See `Source.quantised`."""
        module = name.removesuffix(_WEIGHT)
        return module != name and self._inner.find(f"{module}.{self._form.mark}") is not None

    def read(self, name: str) -> Tensor | Codes:
        """See `Source.read`."""
        if not self.quantised(name):
            return self._inner.read(name)
        module = name.removesuffix(_WEIGHT)
        try:
            return self._form.codes(
                module,
                lambda part: self._inner.read(f"{module}.{part}"),
                lambda part: self._inner.find(f"{module}.{part}") is not None,
                self._dtype,
            )
        except (RuntimeError, IndexError, ValueError) as error:
            raise ConfigError(
                "model.model", f"the parts of {module!r} do not fit together: {error}"
            ) from error
