"""Adding an adapter to the weights of its base, straight from a PEFT folder.

Evaluation needs no more than this, so that it runs where ``peft`` is not installed; merged weights also
generate faster. Shape legend: O outputs, I inputs, K rank.
"""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

_PREFIX = "base_model.model."


def deltas(folder: Path) -> dict[str, torch.Tensor]:
    """Return what an adapter adds to each weight ``[O, I]``: (alpha / rank) B A, in fp32, by weight name.

    Source of the method and the layout: Hu et al. 2021 (LoRA), Hugging Face PEFT.

    Raises:
        FileNotFoundError: the folder is not a PEFT folder.
        ValueError: it is one, but not of plain LoRA.
    """
    config = json.loads((folder / "adapter_config.json").read_text())
    if config["peft_type"] != "LORA" or config.get("use_dora") or config.get("rank_pattern"):
        raise ValueError(f"{folder}: only plain LoRA of one rank can be merged here")
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    weights = load_file(folder / "adapter_model.safetensors")
    found = {}
    for name, a_KI in weights.items():
        if not name.endswith(".lora_A.weight"):
            continue
        stem = name.removesuffix(".lora_A.weight")
        b_OK = weights[f"{stem}.lora_B.weight"]
        found[f"{stem.removeprefix(_PREFIX)}.weight"] = scale * (b_OK.float() @ a_KI.float())
    return found


def merged(model: Any, folder: Path) -> Any:
    """Return a copy of ``model`` (a causal language model of transformers) with the adapter added."""
    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, delta_OI in deltas(folder).items():
            weight = result.get_parameter(name)
            weight += delta_OI.to(weight.dtype)
    return result
