"""Between a recipe's shape, the modules of transformers, and a model folder."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from penstock.zoo.recipes import Shape
from penstock.zoo.upcycle import upcycle


def load_model(folder: Path) -> Any:
    """Return the causal language model in ``folder``, in fp32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def build_model(shape: Shape, start: Path | None = None) -> Any:
    """Return a module in fp32: fresh (normal init, residual outputs scaled down) or loaded from ``start``.

    Llama, or Mixtral where the shape has experts; these begin with the neurons of a dense ``start``.
    """
    from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

    dense = start is not None and AutoConfig.from_pretrained(start).model_type == "llama"
    if start is not None and not (shape.experts and dense):
        return load_model(start)
    common: dict[str, Any] = {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.02,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    model: Any
    if shape.experts:
        experts: dict[str, Any] = {"num_local_experts": shape.experts, "num_experts_per_tok": shape.top_k}
        model = MixtralForCausalLM(MixtralConfig(**common, **experts, sliding_window=None))
    else:
        model = LlamaForCausalLM(LlamaConfig(**common))
    scale = (2 * shape.layers) ** -0.5
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "down_proj")):
                weight.mul_(scale)
    if start is not None:
        upcycle(model, start)
    return model


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save ``tokenizer`` so that transformers 4 and 5 both load it as a plain fast tokenizer."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    for local in ("backend", "is_local", "local_files_only"):
        settings.pop(local, None)
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n")


def export_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save ``model`` in bf16 with tokenizer, chat template and generation defaults to ``folder``."""
    from transformers import GenerationConfig

    folder.mkdir(parents=True, exist_ok=True)
    copy: Any = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    copy.tie_weights()
    copy = copy.to(torch.bfloat16)
    copy.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    copy.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    for path in folder.iterdir():
        path.chmod(0o644)


def main() -> int:
    """Export the checkpoint of a run: ``python -m penstock.zoo.export runs/chat FOLDER``."""
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser(prog="python -m penstock.zoo.export", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    recipe = json.loads((options.run / "recipe.json").read_text())
    model = build_model(Shape(**recipe["shape"]))
    state = torch.load(options.run / "checkpoint.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    export_model(model, AutoTokenizer.from_pretrained(options.run / "tokenizer"), options.out)
    print(f"step {state['progress']['step']} exported to {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
