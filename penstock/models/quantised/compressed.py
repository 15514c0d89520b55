"""Checkpoints of compressed-tensors (llm-compressor): integers in words, or one byte each.

``weight[o, i] = weight_scale[o, g] * (code[o, i] - weight_zero_point[o, g])`` with signed codes. In words,
codes and zero points are stored above their least value, packed along the inputs (codes) and the outputs
(zero points).

Legend: O output features, I input features, G groups of inputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.codes import Codes
from penstock.models.quantised.canonical import make_codes, unpack
from penstock.models.quantised.fields import group_size, one_of, refuse
from penstock.models.quantised.reader import Part

_PACKED = "pack-quantized"
_FORMATS = (_PACKED, "int-quantized", "naive-quantized")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the modules of one config group are quantised."""

    targets: tuple[str, ...]
    bits: int
    group: int
    packed: bool

    def covers(self, module: str) -> bool:
        """Return whether a target names the module: its class, its name, or a pattern after ``re:``."""
        return any(
            re.match(target[3:], module) is not None
            if target.startswith("re:")
            else target in ("Linear", module) or module.endswith(f".{target}")
            for target in self.targets
        )


@dataclass(frozen=True, slots=True)
class Compressed:
    """See the module's text."""

    schemes: tuple[Scheme, ...]
    mark: str = "weight_scale"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Compressed:
        """Return the format of a ``quantization_config``.

        Raises:
            ConfigError: a kind of numbers, strategy, sparsity or layout that is not read.
        """
        one_of(config.get("sparsity_config") or {}, "format", ("dense",), "dense", "sparsity_config.")
        groups = config.get("config_groups")
        if not isinstance(groups, Mapping) or not groups:
            raise refuse("config_groups", "expected at least one group")
        return cls(tuple(_scheme(f"config_groups.{key}.", group, config) for key, group in groups.items()))

    def codes(self, module: str, part: Part, has: Callable[[str], bool], dtype: torch.dtype) -> Codes:
        """See `Format.codes`."""
        scheme = next((one for one in self.schemes if one.covers(module)), None)
        if scheme is None:
            raise refuse("config_groups", f"no target names {module!r}, which is quantised")
        least = 2 ** (scheme.bits - 1)
        if scheme.packed:
            outputs, inputs = part("weight_shape").tolist()
            codes_OI = unpack(part("weight_packed"), scheme.bits, 1)[:outputs, :inputs]
        else:
            codes_OI = _raised(part("weight"), least)
        outputs, inputs = codes_OI.shape
        scales_OG = (
            part("weight_scale").reshape(-1, 1) if part("weight_scale").dim() < 2 else part("weight_scale")
        )
        zeros: Tensor | int = least
        if has("weight_zero_point"):
            zeros = _zeros(part("weight_zero_point"), scheme.bits, outputs).expand(outputs, -1).T
        return make_codes(
            module,
            codes_OI,
            scales_OG.expand(outputs, -1).T,
            zeros,
            bits=scheme.bits,
            group=scheme.group,
            dtype=dtype,
            group_I=part("weight_g_idx") if has("weight_g_idx") else None,
        )


def _scheme(at: str, group: Mapping[str, Any], config: Mapping[str, Any]) -> Scheme:
    weights = group.get("weights")
    if not isinstance(weights, Mapping):
        raise refuse(f"{at}weights", "expected how the weights are quantised")
    owner, place = (group, at) if group.get("format") else (config, "")
    form = one_of(owner, "format", _FORMATS, None, place)
    at_weights = f"{at}weights."
    one_of(weights, "type", ("int",), "int", at_weights)
    bits = one_of(weights, "num_bits", (4, 8) if form == _PACKED else (8,), 8, at_weights)
    one_of(weights, "dynamic", (False,), False, at_weights)
    one_of(weights, "actorder", ("group", "weight", "static", "dynamic"), "weight", at_weights)
    whole = "group" if weights.get("group_size") else "channel"
    strategy = one_of(weights, "strategy", ("tensor", "channel", "group"), whole, at_weights)
    inputs = group.get("input_activations")
    if inputs:
        one_of(inputs, "type", ("int",), "int", f"{at}input_activations.")
        one_of(inputs, "num_bits", (8,), 8, f"{at}input_activations.")
    size = group_size(weights, bits, at=at_weights) if strategy == "group" else 0
    return Scheme(tuple(group.get("targets") or ("Linear",)), bits, size, form == _PACKED)


def _raised(signed: Tensor, least: int) -> Tensor:
    """Return signed integers as codes from 0 up."""
    if signed.is_floating_point():
        raise ConfigError("model.model", f"quantised weights are {signed.dtype}, expected int8")
    return (signed.to(torch.int16) + least).to(torch.uint8)


def _zeros(stored: Tensor, bits: int, outputs: int) -> Tensor:
    if stored.dtype == torch.int32:
        return unpack(stored, bits, 0)[:outputs]
    return _raised(stored.reshape(-1, 1) if stored.dim() < 2 else stored, 2 ** (bits - 1))
