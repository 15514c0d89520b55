"""A mixture of experts made from a dense model (sparse upcycling, Komatsuzaki et al. 2022).

Attention, norms and embeddings are the dense model's, so that what they do (recall, copying) is there from
the first step. The experts share out the neurons of its feed-forward layers.

Shape legend: X experts, W width, F neurons of an expert, D neurons of the dense layer.
"""

from pathlib import Path
from typing import Any

import torch

_FRESH = 0.25
"""Share of an expert's neurons that are not among the most important ones, drawn for each expert anew."""


def neurons_of_experts(importance_D: torch.Tensor, experts: int, width: int) -> list[torch.Tensor]:
    """Return which neurons [F] of the dense layer each expert begins with.

    The more important neurons are dealt to two hands in turn; the first half of the experts takes from one,
    the second from the other, so that two experts of different halves together are nearly the dense layer.
    A share of each expert's neurons is drawn from the rest, so that no two are alike.
    """
    order_D = importance_D.argsort(descending=True)
    kept = round(width * (1 - _FRESH))
    hands = order_D[0 : 2 * kept : 2], order_D[1 : 2 * kept : 2]
    rest = order_D[2 * kept :]
    chosen = []
    for expert in range(experts):
        extra = rest[torch.randperm(len(rest))[: width - kept]]
        chosen.append(torch.cat((hands[expert * 2 // experts], extra)))
    return chosen


@torch.no_grad()
def upcycle(model: Any, folder: Path) -> None:
    """Fill ``model`` (Mixtral) from the dense model in ``folder`` (Llama) of the same width and depth.

    Raises:
        ValueError: the dense model has too few neurons, or other dimensions.
    """
    from transformers import AutoModelForCausalLM

    dense = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = model.config
    width = config.intermediate_size
    for name in (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
    ):
        if getattr(dense.config, name) != getattr(config, name):
            raise ValueError(
                f"{name} is {getattr(dense.config, name)} in {folder}, not {getattr(config, name)}"
            )
    if dense.config.intermediate_size < 2 * width:
        raise ValueError(f"experts of {width} neurons need {2 * width} in {folder}")
    shared = {name: value for name, value in dense.state_dict().items() if ".mlp." not in name}
    model.load_state_dict(shared, strict=False)
    for to, source in zip(model.model.layers, dense.model.layers, strict=True):
        gate, up, down = (
            projection.weight
            for projection in (source.mlp.gate_proj, source.mlp.up_proj, source.mlp.down_proj)
        )
        importance_D = gate.norm(dim=1) * up.norm(dim=1) * down.norm(dim=0)
        experts = to.mlp.experts
        for expert, neurons in enumerate(neurons_of_experts(importance_D, config.num_local_experts, width)):
            experts.gate_up_proj[expert].copy_(torch.cat((gate[neurons], up[neurons])))
            # The two chosen experts are averaged: each counts about half.
            experts.down_proj[expert].copy_(down[:, neurons] * config.num_experts_per_tok)
