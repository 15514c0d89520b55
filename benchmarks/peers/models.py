"""The models: random weights of two shapes, in folders as the Hugging Face hub has them.

Every weight is drawn anew from the seed, so folders made anywhere are alike. The tokenizer, byte-level BPE,
is trained on the Python sources of this interpreter's standard library; the engines are given token ids,
and load it because they insist on one.
"""

from __future__ import annotations

import json
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VOCAB = 32_000
END = "<|endoftext|>"


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen3 model whose output head is its embedding."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    """Rows of the embedding."""

    @property
    def layer_parameters(self) -> int:
        """Of the matrices of all layers."""
        attention = self.head_dim * (2 * self.heads + 2 * self.kv_heads) * self.hidden
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head_parameters(self) -> int:
        """Of the embedding, which is the output head too."""
        return self.vocab * self.hidden

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of a token in bfloat16, all layers."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim


SHAPES = {
    "S": Shape(28, 1024, 3072, 16, 8, 128, 151_936),  # Qwen3-0.6B
    "T": Shape(8, 512, 1536, 8, 4, 64, VOCAB),
}


def hf_config(shape: Shape) -> dict[str, Any]:
    """Return the model's config.json."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "max_position_embeddings": 32_768,
        "max_window_layers": shape.layers,
        "use_sliding_window": False,
        "sliding_window": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }


def tensors(shape: Shape, seed: int) -> dict[str, Any]:
    """Return the weights by their names in the checkpoint, bfloat16."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Any:
        return (torch.randn(rows, columns, generator=generator) * 0.02).to(torch.bfloat16)

    def ones(size: int) -> Any:
        return torch.ones(size, dtype=torch.bfloat16)

    hidden, queries, keys = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    found = {"model.embed_tokens.weight": matrix(shape.vocab, hidden), "model.norm.weight": ones(hidden)}
    for layer in range(shape.layers):
        name = f"model.layers.{layer}."
        found |= {
            f"{name}input_layernorm.weight": ones(hidden),
            f"{name}post_attention_layernorm.weight": ones(hidden),
            f"{name}self_attn.q_norm.weight": ones(shape.head_dim),
            f"{name}self_attn.k_norm.weight": ones(shape.head_dim),
            f"{name}self_attn.q_proj.weight": matrix(queries, hidden),
            f"{name}self_attn.k_proj.weight": matrix(keys, hidden),
            f"{name}self_attn.v_proj.weight": matrix(keys, hidden),
            f"{name}self_attn.o_proj.weight": matrix(hidden, queries),
            f"{name}mlp.gate_proj.weight": matrix(shape.intermediate, hidden),
            f"{name}mlp.up_proj.weight": matrix(shape.intermediate, hidden),
            f"{name}mlp.down_proj.weight": matrix(hidden, shape.intermediate),
        }
    return found


def _sources(limit: int = 400) -> Iterator[str]:
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    for path in paths[:limit]:
        yield path.read_text(encoding="utf-8", errors="ignore")


def write_tokenizer(folder: Path, size: int = VOCAB) -> None:
    """Train the tokenizer and write its files; missing entries are filled up with unused ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(_sources(), trainer)
    missing = size - tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([AddedToken(f"<|unused_{i}|>", special=True) for i in range(missing)])
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "bos_token": None,
        "model_max_length": 32_768,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")


def write(name: str, folder: Path, seed: int = 0, shape: Shape | None = None) -> Path:
    """Make the folder of a model, unless it is there, and return it."""
    from safetensors.torch import save_file

    shape = shape or SHAPES[name]
    place = folder / f"{name}-{seed}"
    if (place / "shape.json").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(hf_config(shape), indent=2), encoding="utf-8")
    write_tokenizer(place)
    save_file(tensors(shape, seed), place / "model.safetensors", metadata={"format": "pt"})
    generation = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    (place / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    # Written last: its presence says that the folder is whole.
    (place / "shape.json").write_text(json.dumps(asdict(shape)), encoding="utf-8")
    return place
