"""Where parameters come from: tensors by the names that Hugging Face checkpoints give them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from penstock.kernels.codes import Codes


class Source(Protocol):
    """A checkpoint of whatever format."""

    def find(self, name: str) -> str | None:
        """Return the name under which the checkpoint holds the tensor, or None."""
        ...

    def quantised(self, name: str) -> bool:
        """Return whether `read` will give codes."""
        ...

    def read(self, name: str) -> Tensor | Codes:
        """Return a tensor.

        Raises:
            ConfigError: there is no such tensor, or it cannot be read.
        """
        ...
