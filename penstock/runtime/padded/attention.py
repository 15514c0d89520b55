"""Dense attention over rows of one length: every query scores every key of its row, and a mask decides.

Legend: B rows of the batch, Q queries per row, T keys per row, H query heads, G KV heads, R folded query rows
(query x group member), D head dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from penstock.kernels.attention.base import AttnNeed, AttnPlan, LayerKV
from penstock.kernels.attention.torch_backend import fragment
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import Partial
from penstock.kernels.rows import StepRows


@dataclass(slots=True)
class PaddedPlan(AttnPlan):
    """Which keys each query sees; distances for windows count places in the row."""

    seen_BQT: Tensor
    places_BQ: Tensor
    """int64, place of each query in its row."""


class PaddedAttention:
    """A row's keys and values are one page of the store; nothing is skipped, padding least of all."""

    name = "padded"

    @classmethod
    def refusal(cls, need: AttnNeed) -> str | None:
        """See `AttentionBackend.refusal`."""
        return "rows of one length have no batch-invariant mode" if need.batch_invariant else None

    def plan(self, rows: StepRows, page_size: int) -> AttnPlan:
        """Not to be asked: only the executor knows the mask."""
        raise NotImplementedError("padded rows come with a plan of their own")

    def attend(self, q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: AttnPlan) -> Partial:
        """See `AttentionBackend.attend`; N is B rows of Q queries."""
        assert isinstance(plan, PaddedPlan)
        batch, queries, keys = plan.seen_BQT.shape
        heads, dim, groups = q_NHD.shape[1], q_NHD.shape[2], layer.kv_heads
        share = heads // groups
        tiles_BG = torch.arange(batch * groups, device=q_NHD.device).view(batch, groups)
        q_BQHD = q_NHD.view(batch, queries, heads, dim)
        outs, lses = [], []
        for b in range(batch):
            k_GTD, v_GTD = kv.codec.gather(kv.planes, tiles_BG[b], torch.float32)
            q_GRD = q_BQHD[b].float().view(queries, groups, share, dim).transpose(0, 1)
            seen_QT = plan.seen_BQT[b]
            if layer.window is not None:
                places_T = torch.arange(keys, device=seen_QT.device)
                seen_QT = seen_QT & (places_T > plan.places_BQ[b][:, None] - layer.window)
            out_GRD, lse_GR = fragment(
                q_GRD.reshape(groups, queries * share, dim),
                k_GTD,
                v_GTD,
                seen_QT.repeat_interleave(share, dim=0),
                layer.scale,
                layer.softcap,
            )
            out_GQSD = out_GRD.view(groups, queries, share, dim)
            outs.append(out_GQSD.transpose(0, 1).reshape(queries, heads, dim))
            lses.append(lse_GR.view(groups, queries, share).transpose(0, 1).reshape(queries, heads))
        return Partial(torch.cat(outs), torch.cat(lses))
