"""A Qwen3 folder as a GGUF file, written with llama.cpp's own Python library (package ``gguf``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def convert(folder: Path, path: Path) -> None:
    """Write the model of a Hugging Face folder to ``path``: matrices in bfloat16, norms in float32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_name("benchmark")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    _add_tokenizer(writer, folder, config)
    for name, bits, shape in _tensors(folder / "model.safetensors"):
        if len(shape) == 1:
            values = (bits.astype(np.uint32) << 16).view(np.float32)
            writer.add_tensor(_renamed(name), values)
        else:
            raw = bits.reshape(shape).view(np.uint8)
            writer.add_tensor(_renamed(name), raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: Any, folder: Path, config: dict[str, Any]) -> None:
    """Add the vocabulary; rows of the embedding that no token has become unused entries."""
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"]: token["content"] for token in described["added_tokens"]}
    words = {index: word for word, index in described["model"]["vocab"].items()} | special
    tokens, types = [], []
    for index in range(config["vocab_size"]):
        tokens.append(words.get(index, f"[PAD{index}]"))
        kind = gguf.TokenType.NORMAL if index in words else gguf.TokenType.UNUSED
        types.append(gguf.TokenType.CONTROL if index in special else kind)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in described["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(config["eos_token_id"])


def _renamed(name: str) -> str:
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in whole:
        return whole[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def _tensors(path: Path) -> Any:
    """Yield name, bfloat16 bits (flat uint16) and shape of each tensor; the file is mapped, not read."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    size = int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8 : 8 + size].tobytes())
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "BF16":
            raise ValueError(f"expected bfloat16 weights, {name} has {entry['dtype']}")
        begin, end = entry["data_offsets"]
        yield name, data[8 + size + begin : 8 + size + end].view(np.uint16), entry["shape"]
