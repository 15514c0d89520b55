"""The losses of the zoo: cross-entropy on the tokens that count, distillation, balance of experts.

Shape legend: N tokens of a batch, M positions with weight, V vocabulary, W width, X experts.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from penstock.zoo.packing import Batch


def counted(batch: Batch) -> torch.Tensor:
    """Return the positions [M] whose next token has weight."""
    return (batch.weight_N[1:] > 0).nonzero()[:, 0]


def hidden_states(
    model: Any, ids_N: torch.Tensor, position_N: torch.Tensor, starts_D: torch.Tensor
) -> torch.Tensor:
    """Return the final hidden states [N,W] of a batch; documents do not see each other."""
    states: torch.Tensor = model.model(
        input_ids=ids_N[None],
        position_ids=position_N[None],
        document_starts=starts_D,
        use_cache=False,
    ).last_hidden_state[0]
    return states


def token_losses(logits_MV: torch.Tensor, batch: Batch, at_M: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy [M] of the tokens that follow the positions ``at_M``."""
    return F.cross_entropy(logits_MV.float(), batch.ids_N[at_M + 1], reduction="none")


def weighted_mean(losses_M: torch.Tensor, batch: Batch, at_M: torch.Tensor) -> torch.Tensor:
    """Return the mean over positions, by the weight of the token that is predicted there."""
    weight_M = batch.weight_N[at_M + 1]
    return (losses_M * weight_M).sum() / weight_M.sum()


def divergences(logits_MV: torch.Tensor, teacher_MV: torch.Tensor) -> torch.Tensor:
    """Return KL(teacher || model) [M] per position (Hinton et al. 2015, at temperature 1)."""
    wanted = F.log_softmax(teacher_MV.float(), -1)
    return F.kl_div(F.log_softmax(logits_MV.float(), -1), wanted, log_target=True, reduction="none").sum(-1)


def imbalance(router_logits: Sequence[torch.Tensor], top_k: int) -> torch.Tensor:
    """Return the load-balance loss of the experts, 1 when even (Fedus et al. 2021, eq. 4, over all layers).

    Args:
        router_logits: [N,X] of every layer.
        top_k: experts chosen for a token.
    """
    total = torch.zeros((), device=router_logits[0].device)
    for logits_NX in router_logits:
        shares_NX = logits_NX.float().softmax(-1)
        experts = shares_NX.shape[-1]
        chosen_NX = F.one_hot(shares_NX.topk(top_k, -1).indices, experts).sum(1).float()
        total = total + experts * (chosen_NX.mean(0) / top_k * shares_NX.mean(0)).sum()
    return total / len(router_logits)
