"""A model's parameters as named tensors and facts, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from penstock.kernels.native.packed import Form, Packed
from penstock.kernels.ops import Weight
from penstock.models.packcache.flat import flatten, unflatten
from penstock.models.params import ModelParams


def freeze(params: ModelParams) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a file has to hold of the parameters, packed or not.

    Raises:
        TypeError: a weight that neither torch nor the native kernels made.
    """
    forms: dict[str, dict[str, Any]] = {}
    tensors: dict[str, Tensor] = {}
    for name, weight in flatten(params).items():
        if isinstance(weight, Packed):
            forms[name] = asdict(weight.form)
            tensors |= {f"{name}/{part}": tensor for part, tensor in weight.parts.items()}
        elif isinstance(weight, Tensor):
            tensors[name] = weight
        else:
            raise TypeError(f"{name} is a {type(weight).__name__}")
    return {"blocks": len(params.blocks), "forms": forms}, tensors


def thaw(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ModelParams:
    """Return the parameters of which `freeze` gave the facts and tensors; nothing is copied.

    Raises:
        KeyError, TypeError, ValueError: they do not fit together.
    """
    flat: dict[str, Weight] = {}
    parts: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        owner, slash, part = name.partition("/")
        if slash:
            parts[owner][part] = tensor
        else:
            flat[name] = tensor
    flat |= {name: Packed.restored(Form(**form), parts[name]) for name, form in facts["forms"].items()}
    return unflatten(flat, facts["blocks"])
