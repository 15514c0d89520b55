"""GPTQ checkpoints, as AutoGPTQ and GPTQModel write them.

``weight[o, i] = scales[g, o] * (code[i, o] - zero[g, o])`` with ``g = g_idx[i]``. Codes are packed along the
inputs, zeros along the outputs. Version 1 of the format stores zeros less one; ``gptq_v2`` stores them.

Legend: O output features, I input features, G groups of inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from penstock.kernels.codes import Codes
from penstock.models.quantised.canonical import make_codes, unpack
from penstock.models.quantised.fields import group_size, one_of, refuse
from penstock.models.quantised.reader import Part


@dataclass(frozen=True, slots=True)
class Gptq:
    """See the module's text."""

    bits: int
    group: int
    less_one: bool
    """Zeros are stored less one."""
    mark: str = "qweight"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Gptq:
        """Return the format of a ``quantization_config``.

        Raises:
            ConfigError: bits, a layout or overrides that are not read.
        """
        bits = one_of(config, "bits", (4, 8), None)
        one_of(config, "is_marlin_format", (False,), False)
        one_of(config, "pack_dtype", ("int32",), "int32")
        field = "checkpoint_format" if config.get("checkpoint_format") else "format"
        version = one_of(config, field, ("gptq", "gptq_v2"), "gptq")
        for pattern, changes in (config.get("dynamic") or {}).items():
            # Patterns that start with "-:" name modules that were left alone.
            if not str(pattern).startswith("-:") and {"bits", "group_size"} & set(changes or ()):
                raise refuse("dynamic", f"other bits or groups for some modules ({pattern!r}) are not read")
        return cls(bits, group_size(config, bits), version == "gptq")

    def codes(self, module: str, part: Part, has: Callable[[str], bool], dtype: torch.dtype) -> Codes:
        """See `Format.codes`."""
        codes_OI = unpack(part("qweight"), self.bits, 0).T
        scales_GO = part("scales")
        zeros_GO = unpack(part("qzeros"), self.bits, 1)[:, : scales_GO.shape[1]]
        if self.less_one:
            # Zero itself was stored as -1, all bits set.
            zeros_GO = (zeros_GO + 1) & (2**self.bits - 1)
        return make_codes(
            module,
            codes_OI,
            scales_GO,
            zeros_GO,
            bits=self.bits,
            group=self.group,
            dtype=dtype,
            group_I=part("g_idx") if has("g_idx") else None,
        )
