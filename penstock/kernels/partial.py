"""Attention fragments and their exact merge: the one numerical contract of every memory system.

A fragment is attention over *some* of the keys. Disjoint fragments merge exactly, so a device/host split,
a window with sinks, a retrieved set or a remote part are all the same thing to the caller.

Legend: N rows (queries), H query heads, D head dim, F fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Partial(NamedTuple):
    """Attention of N rows over one set of keys.

    A row that sees no key of the set has ``out = 0`` and ``lse = -inf``.
    """

    out_NHD: Tensor
    """Softmax-weighted values, normalised within the fragment; float32 or the queries' dtype."""
    lse_NH: Tensor
    """float32, natural log of the sum of exp(score) over the fragment's keys (after scale and softcap)."""


def empty_partial(rows: int, heads: int, head_dim: int, device: torch.device | str = "cpu") -> Partial:
    """Return the neutral element of `merge`: attention over no keys."""
    out_NHD = torch.zeros(rows, heads, head_dim, device=device)
    return Partial(out_NHD, torch.full((rows, heads), float("-inf"), device=device))


def merge(partials: Sequence[Partial]) -> Partial:
    """Merge fragments over disjoint sets of keys into attention over their union, exactly.

    ``m = max lse_i; w_i = exp(lse_i - m); out = sum(w_i out_i) / sum(w_i); lse = m + log sum(w_i)``
    (the online softmax of Milakov and Gimelshein, 2018). Empty fragments weigh nothing; where all are empty
    the result is the empty fragment.

    Raises:
        ValueError: no fragment was given.
    """
    if not partials:
        raise ValueError("merge needs at least one fragment")
    if len(partials) == 1:
        return partials[0]
    lse_FNH = torch.stack([p.lse_NH.float() for p in partials])
    top_NH = lse_FNH.amax(dim=0)
    # -inf - -inf is nan: where every fragment is empty, shift by 0 instead, so that the weights come out 0.
    shift_NH = torch.where(top_NH == float("-inf"), 0.0, top_NH)
    weight_FNH = torch.exp(lse_FNH - shift_NH)
    total_NH = weight_FNH.sum(dim=0)
    share_FNH = weight_FNH / torch.where(total_NH == 0, 1.0, total_NH)
    out_NHD = torch.zeros_like(partials[0].out_NHD, dtype=torch.float32)
    for part, share_NH in zip(partials, share_FNH, strict=True):
        # A fragment that weighs nothing may carry anything, even nan: leave it out rather than multiply by 0.
        term_NHD = part.out_NHD.float() * share_NH[..., None]
        out_NHD += torch.where(share_NH[..., None] > 0, term_NHD, 0.0)
    return Partial(out_NHD, shift_NH + torch.log(total_NH))
