"""Quantised checkpoints, brought to the one form that kernels take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from penstock.models.quantised.awq import Awq
from penstock.models.quantised.compressed import Compressed
from penstock.models.quantised.fields import one_of
from penstock.models.quantised.gptq import Gptq
from penstock.models.quantised.reader import Format

FORMATS: dict[str, Callable[[Mapping[str, Any]], Format]] = {
    "awq": Awq.of,
    "compressed-tensors": Compressed.of,
    "gptq": Gptq.of,
}
"""``quant_method`` -> reader of the rest of ``quantization_config``."""


def format_of(config: Mapping[str, Any]) -> Format:
    """Return the format that a ``quantization_config`` names.

    Raises:
        ConfigError: one that is not read, or a variant of one that is not.
    """
    return FORMATS[one_of(config, "quant_method", tuple(FORMATS), None)](config)
