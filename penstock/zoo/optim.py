"""Optimisers of the zoo: AdamW, or Muon for the matrices between embeddings."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from penstock.zoo.recipes import Recipe


def optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return the optimisers that together hold every parameter once; learning rates are set before each step.

    Muon (Jordan et al. 2024; update sizes matched to AdamW's as in Liu et al. 2025, so that one learning rate
    serves both) takes the two-dimensional weights of the layers where torch has it; AdamW takes the rest.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inner = [p for name, p in named if p.dim() == 2 and ".layers." in name and "mlp.gate." not in name]
    muon: Any = getattr(torch.optim, "Muon", None)
    if recipe.optimizer != "muon" or muon is None:
        return [_adamw((p for _, p in named), recipe)]
    taken = {id(p) for p in inner}
    return [
        muon(inner, lr=0.0, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
        _adamw((p for _, p in named if id(p) not in taken), recipe),
    ]


def _adamw(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    everything = list(parameters)
    groups = [
        {"params": [p for p in everything if p.dim() > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in everything if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, fused=True)
