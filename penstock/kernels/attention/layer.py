"""The attention layer of every model and every memory system: write, pick, attend in fragments, merge.

Legend: N rows, H query heads, G KV heads, D head dim.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from penstock.kernels.attention.base import AttnPlan
from penstock.kernels.compile import AttentionStack
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import merge
from penstock.kernels.store import KVStore


@dataclass(slots=True)
class StepAttention:
    """What the attention layers of one step share."""

    stack: AttentionStack
    store: KVStore
    plan: AttnPlan
    kv_slots_N: Tensor
    """Where this step's rows are stored; padding rows are left out or point to the scratch page."""


def attend_layer(
    layer: LayerSpec, q_NHD: Tensor, k_NGD: Tensor, v_NGD: Tensor, step: StepAttention
) -> Tensor:
    """Store this step's keys and values, and return the attention of its rows, ``[N, H, D]`` in q's dtype.

    The write comes first and every read goes through the codec, so a chunk's own rows are read as later steps
    will read them. A layer that borrows its KV passes no rows.

    Args:
        layer: static description.
        q_NHD: rotated queries.
        k_NGD: rotated keys, as many as there are slots; empty for a borrower.
        v_NGD: values, likewise.
        step: plan, store and axes of the step.
    """
    stack = step.stack
    kv = step.store.layer(layer.owner)
    if layer.owner == layer.index:
        stored = step.kv_slots_N.numel()
        stack.write(kv, step.kv_slots_N, k_NGD[:stored], v_NGD[:stored])
    plan = stack.selector.pick(layer, q_NHD, step.plan)
    sites = stack.placement.split(layer, plan)
    part = merge([site.attend(q_NHD, kv, layer, share) for site, share in sites])
    stack.selector.observe(layer, plan, part)
    return part.out_NHD.to(q_NHD.dtype)
