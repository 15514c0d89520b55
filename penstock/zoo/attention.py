"""Causal attention inside each of the documents that follow each other in one flat batch.

Registered with transformers as an attention implementation, so that the model modules stay theirs. No mask is
ever built: each document is one call of the fused kernel, and work grows with the squares of the documents'
lengths instead of the square of the batch's.

Shape legend: N tokens of a batch, D documents, H heads, K key-value heads, E head width.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional as F

NAME = "zoo_documents"
"""Name of the implementation, for ``model.set_attn_implementation``."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _spans(starts: torch.Tensor, total: int) -> list[tuple[int, int]]:
    """Return begin and end of every document; entries of ``total`` after the last are padding."""
    edges = [*(start for start in starts.tolist() if start < total), total]
    return list(pairwise(edges))


@torch.library.custom_op("penstock_zoo::document_attention", mutates_args=())
def _attend(
    q_HNE: torch.Tensor, k_HNE: torch.Tensor, v_HNE: torch.Tensor, starts_D: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    out_NHE = q_HNE.new_empty(q_HNE.shape[1], q_HNE.shape[0], q_HNE.shape[2])
    sums_NH = q_HNE.new_empty(q_HNE.shape[1], q_HNE.shape[0], dtype=torch.float32)
    for a, b in _spans(starts_D, q_HNE.shape[1]):
        out, sums = _flash(
            q_HNE[None, :, a:b], k_HNE[None, :, a:b], v_HNE[None, :, a:b], 0.0, True, scale=scale
        )
        out_NHE[a:b] = out[0].transpose(0, 1)
        sums_NH[a:b] = sums[0].transpose(0, 1)
    return out_NHE, sums_NH


@_attend.register_fake
def _(q_HNE: Any, k_HNE: Any, v_HNE: Any, starts_D: Any, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    heads, total, width = q_HNE.shape
    return q_HNE.new_empty(total, heads, width), q_HNE.new_empty(total, heads, dtype=torch.float32)


@torch.library.custom_op("penstock_zoo::document_attention_backward", mutates_args=())
def _attend_backward(
    grad_NHE: torch.Tensor,
    q_HNE: torch.Tensor,
    k_HNE: torch.Tensor,
    v_HNE: torch.Tensor,
    out_NHE: torch.Tensor,
    sums_NH: torch.Tensor,
    starts_D: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    grads = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q_HNE, k_HNE, v_HNE))
    for a, b in _spans(starts_D, q_HNE.shape[1]):
        parts = _flash_backward(
            grad_NHE[None, a:b].transpose(1, 2),
            q_HNE[None, :, a:b],
            k_HNE[None, :, a:b],
            v_HNE[None, :, a:b],
            out_NHE[None, a:b].transpose(1, 2),
            sums_NH[None, a:b].transpose(1, 2).contiguous(),
            0.0,
            True,
            scale=scale,
        )
        for grad, part in zip(grads, parts, strict=True):
            grad[:, a:b] = part[0]
    return grads[0], grads[1], grads[2]


@_attend_backward.register_fake
def _(grad: Any, q: Any, k: Any, v: Any, out: Any, sums: Any, starts: Any, scale: float) -> Any:
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, k, v, starts, scale = inputs
    ctx.save_for_backward(q, k, v, starts, *output)
    ctx.scale = scale


def _backward(ctx: Any, grad: torch.Tensor, _: Any) -> Any:
    q, k, v, starts, out, sums = ctx.saved_tensors
    return (*_attend_backward(grad.contiguous(), q, k, v, out, sums, starts, ctx.scale), None, None)


_attend.register_autograd(_backward, setup_context=_setup)


def document_attention(
    q_HNE: torch.Tensor, k_KNE: torch.Tensor, v_KNE: torch.Tensor, starts_D: torch.Tensor, scale: float
) -> torch.Tensor:
    """Return attention [N,H,E] of each document to itself, causally.

    Args:
        q_HNE: queries.
        k_KNE: keys; a group of H/K heads shares one.
        v_KNE: values.
        starts_D: index of the first token of each document, ascending from 0; entries of N are padding.
        scale: factor of the scores.
    """
    group = q_HNE.shape[0] // k_KNE.shape[0]
    if q_HNE.device.type == "cpu":
        keys, values = (x.repeat_interleave(group, dim=0) for x in (k_KNE, v_KNE))
        out_NHE: torch.Tensor = _attend(q_HNE, keys, values, starts_D, scale)[0]
        return out_NHE
    parts = [
        F.scaled_dot_product_attention(
            q_HNE[None, :, a:b],
            k_KNE[None, :, a:b],
            v_KNE[None, :, a:b],
            is_causal=True,
            scale=scale,
            enable_gqa=group > 1,
        )[0].transpose(0, 1)
        for a, b in _spans(starts_D, q_HNE.shape[1])
    ]
    return torch.cat(parts)


def _interface(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    *,
    scaling: float,
    document_starts: torch.Tensor,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend in the form that transformers asks for: a batch of one flat sequence, [1,H,N,E] to [1,N,H,E]."""
    kind = torch.float32 if value.device.type == "cpu" else value.dtype  # faster than bf16 on short documents
    q_HNE, k_KNE, v_KNE = (x[0].to(kind) for x in (query, key, value))
    heads_NHE = document_attention(q_HNE, k_KNE, v_KNE, document_starts, scaling).to(value.dtype)
    return heads_NHE[None], None


def register() -> None:
    """Make the implementation known to transformers under :data:`NAME`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _interface)
