"""The planes of a layer as the kernels see them: addresses and types."""

from __future__ import annotations

import torch

from penstock.kernels.attention.base import LayerKV

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
"""``ps_type`` of api.h."""


def addresses(kv: LayerKV) -> list[int | None]:
    """Return the addresses of keys, values and their scales; None where raw KV has no scales."""
    return [
        None if (plane := kv.planes.get(name)) is None else plane.data_ptr()
        for name in ("k", "v", "k_scale", "v_scale")
    ]
