"""The attention layer of every model and every memory system: store; then pick, attend in fragments, merge.

Legend: N rows, H query heads, G KV heads, D head dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from penstock.kernels.attention.base import AttnPlan
from penstock.kernels.compile import AttentionStack
from penstock.kernels.heads import PrepareHeads, Turn
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
    """Where this step's rows are stored, contiguous; padding is left out or points to the scratch page."""
    turns: Sequence[Turn] = ()
    """Rotations of this step's rows, one for each rotary table of the model."""


def store_heads(
    layer: LayerSpec, prepare: PrepareHeads, heads_NI: Tensor, rope: int | None, step: StepAttention
) -> Tensor:
    """Store this step's keys and values, and return the queries of its rows, ``[N, H, D]``, to attend with.

    The write comes before any read, and every read goes through the codec, so a chunk's own rows are read as
    later steps will read them. A layer that borrows its KV stores nothing.

    Args:
        layer: static description.
        prepare: the preparation of the layer's heads.
        heads_NI: the heads as the product gives them, ``[N, (H + 2G) * D]``; may be overwritten.
        rope: which of the step's rotations to take; None: none.
        step: rotations, store and slots of the step.
    """
    kv = step.store.layer(layer.index) if layer.owner == layer.index else None
    return prepare(heads_NI, None if rope is None else step.turns[rope], kv, step.kv_slots_N)


def attend_layer(layer: LayerSpec, q_NHD: Tensor, step: StepAttention) -> Tensor:
    """Return the attention of rows whose keys and values are stored, ``[N, H, D]`` in q's dtype.

    Args:
        layer: static description.
        q_NHD: queries from `store_heads`, or some of their rows.
        step: plan (of those rows), store and axes of the step.
    """
    stack = step.stack
    kv = step.store.layer(layer.owner)
    plan = stack.selector.pick(layer, q_NHD, step.plan)
    sites = stack.placement.split(layer, plan)
    part = merge([site.attend(q_NHD, kv, layer, share) for site, share in sites])
    stack.selector.observe(layer, plan, part)
    return part.out_NHD.to(q_NHD.dtype)
