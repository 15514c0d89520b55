"""GGUF files of the Llama family: config, names and tensors. Reading the container is the gguf package's.

The tokenizer inside is not read.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.codes import Codes
from penstock.models.quantised.blocks import BLOCK_TYPES, codes_of

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_DTYPES = {0: "float32", 1: "float16"}
"""``general.file_type`` -> dtype of the model; quantised files run in bfloat16."""
_EDGES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@lru_cache(maxsize=1)
def _open(path: Path, changed: int) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ConfigError(
            "model.model", "GGUF files need the gguf package: install penstock[gguf]"
        ) from error
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError, TypeError) as error:
        raise ConfigError("model.model", f"{path} is no readable GGUF file: {error}") from error


class GgufFile:
    """A model in one file; see `ModelFiles`, and `Source` for its tensors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path, path.stat().st_mtime_ns)
        self._tensors = {tensor.name: tensor for tensor in self._file.tensors}
        self._dtype = torch.bfloat16
        self._arch = self._meta("general.architecture", "")
        if self._arch not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ConfigError("model.model", f"expected a GGUF file of {known}, got {self._arch!r}")
        if int(self._meta("split.count", 1) or 1) > 1:
            raise ConfigError("model.model", "GGUF files in several parts are not read: merge them first")

    def _meta(self, key: str, default: Any = None) -> Any:
        field = self._file.get_field(key)
        return default if field is None else field.contents()

    def _own(self, key: str, default: Any = None) -> Any:
        """Return a field of the architecture.

        Raises:
            ConfigError: there is none and no default.
        """
        value = self._meta(f"{self._arch}.{key}", default)
        if value is None:
            raise ConfigError("model.model", f"{self._path} lacks the field {self._arch}.{key}")
        return value

    def raw(self) -> dict[str, Any]:
        """See `ModelFiles.raw`."""
        heads, hidden = int(self._own("attention.head_count")), int(self._own("embedding_length"))
        head_dim = int(self._own("attention.key_length", hidden // heads))
        return {
            "model_type": self._arch,
            "architectures": [ARCHITECTURES[self._arch]],
            "vocab_size": int(self._tensor("token_embd.weight").shape[-1]),
            "hidden_size": hidden,
            "intermediate_size": int(self._own("feed_forward_length")),
            "num_hidden_layers": int(self._own("block_count")),
            "num_attention_heads": heads,
            "num_key_value_heads": int(self._own("attention.head_count_kv", heads)),
            "head_dim": head_dim,
            "max_position_embeddings": int(self._own("context_length")),
            "rms_norm_eps": float(self._own("attention.layer_norm_rms_epsilon")),
            "rope_parameters": self._rope(head_dim),
            "tie_word_embeddings": "output.weight" not in self._tensors,
            "bos_token_id": self._meta("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self._meta("tokenizer.ggml.eos_token_id"),
            "dtype": _DTYPES.get(self._meta("general.file_type", -1), "bfloat16"),
        }

    def _rope(self, dim: int) -> dict[str, Any]:
        theta = float(self._own("rope.freq_base", 10000.0))
        if int(self._own("rope.dimension_count", dim)) != dim:
            raise ConfigError("model.model", f"{self._arch}.rope.dimension_count: expected the head's {dim}")
        kind = self._own("rope.scaling.type", "none")
        if "rope_freqs.weight" in self._tensors:
            factors_R = torch.from_numpy(np.array(self._tensor("rope_freqs.weight").data)).float()
            return _llama3(factors_R, theta, dim)
        if kind == "none":
            return {"rope_type": "default", "rope_theta": theta}
        if kind not in ("linear", "yarn"):
            raise ConfigError(
                "model.model", f"{self._arch}.rope.scaling.type: expected none, linear or yarn, got {kind!r}"
            )
        scaled = {"rope_type": kind, "rope_theta": theta, "factor": float(self._own("rope.scaling.factor"))}
        original = self._own("rope.scaling.original_context_length", 0)
        return scaled | ({"original_max_position_embeddings": int(original)} if original else {})

    def config(self) -> Any:
        """See `ModelFiles.config`."""
        from transformers import AutoConfig

        raw = self.raw()
        try:
            return AutoConfig.for_model(**raw)
        except Exception as error:  # Whatever transformers objects to, it is this file.
            raise ConfigError("model.model", f"{self._path} describes no valid model: {error}") from error

    def generation(self) -> dict[str, Any]:
        """Return the ids that end a turn or a text, where the file names them."""
        keys = ("eos_token_id", "eot_token_id")
        ids = [self._meta(f"tokenizer.ggml.{key}") for key in keys]
        return {"eos_token_id": sorted({one for one in ids if one is not None})}

    def source(self, prefixes: tuple[str, ...], dtype: torch.dtype) -> GgufFile:
        """See `ModelFiles.source`; the file is its own."""
        self._dtype = dtype
        return self

    def weights(self) -> list[Path]:
        """See `ModelFiles.weights`."""
        return [self._path]

    def stamps(self) -> list[tuple[str, int, int]]:
        """See `ModelFiles.stamps`."""
        stat = self._path.stat()
        return [(self._path.name, stat.st_size, stat.st_mtime_ns)]

    def _tensor(self, name: str) -> Any:
        if name not in self._tensors:
            raise ConfigError("model.model", f"{self._path} holds no tensor {name!r}")
        return self._tensors[name]

    def find(self, name: str) -> str | None:
        """See `Source.find`."""
        own = own_name(name)
        return own if own in self._tensors else None

    def quantised(self, name: str) -> bool:
        """See `Source.quantised`."""
        found = self.find(name)
        return found is not None and self._tensors[found].tensor_type.name not in _PLAIN

    def read(self, name: str) -> Tensor | Codes:
        """See `Source.read`."""
        tensor = self._tensor(own_name(name) or name)
        found = self._decoded(tensor)
        if self._arch != "llama" or not re.search(r"\.(q|k)_proj\.", name):
            return found
        # Llama's queries and keys lie in the order that llama.cpp rotates them in: pairs side by side.
        heads = "attention.head_count" if ".q_proj." in name else "attention.head_count_kv"
        count = int(self._own(heads, self._own("attention.head_count")))
        rows_O = torch.arange(found.shape[0]).view(count, -1, 2).transpose(1, 2).flatten()
        return found.rows(rows_O) if isinstance(found, Codes) else found[rows_O]

    def _decoded(self, tensor: Any) -> Tensor | Codes:
        kind, shape = tensor.tensor_type.name, tuple(int(size) for size in reversed(tensor.shape))
        if kind not in _PLAIN and kind not in BLOCK_TYPES:
            known = ", ".join((*_PLAIN, *BLOCK_TYPES))
            raise ConfigError("model.model", f"tensor {tensor.name!r} is {kind}; read are {known}")
        data = torch.from_numpy(np.array(tensor.data))
        if kind in BLOCK_TYPES:
            return codes_of(BLOCK_TYPES[kind], data.view(shape[0], -1), self._dtype)
        return data.view(_PLAIN[kind]).view(shape)


def own_name(name: str) -> str | None:
    """Return GGUF's name of a tensor of a Hugging Face checkpoint, or None if it has none."""
    module, _, part = name.rpartition(".")
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module)
    if found is None:
        return f"{_EDGES[module]}.{part}" if module in _EDGES else None
    return f"blk.{found[1]}.{_LAYER[found[2]]}.{part}" if found[2] in _LAYER else None


def _llama3(factors_R: Tensor, theta: float, dim: int) -> dict[str, Any]:
    """Return the settings of Llama 3's scaling that give these divisors of the frequencies.

    Raises:
        ConfigError: they are not of that scaling.
    """
    factor, low, high, original = float(factors_R.max()), 1.0, 4.0, 8192
    turns_R = original / (2 * math.pi) * theta ** (-torch.arange(0, dim, 2).double() / dim)
    smooth_R = ((turns_R - low) / (high - low)).clamp(0, 1)
    if factors_R.shape != turns_R.shape or not torch.allclose(
        factors_R.double(), 1 / ((1 - smooth_R) / factor + smooth_R), rtol=1e-3
    ):
        raise ConfigError("model.model", "rope_freqs.weight is not Llama 3's scaling of 8192 positions")
    return {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }
