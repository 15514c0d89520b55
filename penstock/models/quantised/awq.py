"""AWQ checkpoints in AutoAWQ's "gemm" layout.

``weight[o, i] = scales[g, o] * (code[i, o] - zero[g, o])`` with ``g = i // group_size``. Eight outputs share
a word; from the lowest four bits up they are outputs 0, 2, 4, 6, 1, 3, 5, 7 of the eight.

Legend: O output features, I input features, G groups of inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from penstock.kernels.codes import Codes
from penstock.models.quantised.canonical import make_codes, unpack
from penstock.models.quantised.fields import group_size, one_of
from penstock.models.quantised.reader import Part

_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""In which four bits of a word each of its outputs lies."""


@dataclass(frozen=True, slots=True)
class Awq:
    """See the module's text."""

    group: int
    mark: str = "qweight"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Awq:
        """Return the format of a ``quantization_config``.

        Raises:
            ConfigError: bits or a layout that is not read.
        """
        bits = one_of(config, "bits" if "bits" in config else "w_bit", (4,), None)
        one_of(config, "version", ("gemm", "GEMM"), "gemm")
        one_of(config, "zero_point", (True,), True)
        return cls(group_size(config, bits, "group_size" if "group_size" in config else "q_group_size"))

    def codes(self, module: str, part: Part, has: Callable[[str], bool], dtype: torch.dtype) -> Codes:
        """See `Format.codes`."""
        codes_IO, zeros_GO = _ordered(part("qweight")), _ordered(part("qzeros"))
        return make_codes(module, codes_IO.T, part("scales"), zeros_GO, bits=4, group=self.group, dtype=dtype)


def _ordered(words: Tensor) -> Tensor:
    codes = unpack(words, 4, 1)
    return codes.view(len(codes), -1, 8)[:, :, list(_PLACES)].flatten(1)
