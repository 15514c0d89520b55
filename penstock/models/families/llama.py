"""Llama, the families that differ from it by switches (Mistral, Qwen2, Qwen3), and Phi-3 (fused tensors)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.models.families.base import (
    Names,
    attention_layer,
    attention_params,
    base_spec,
    checked_act,
    edge_params,
    gated_mlp_params,
    get,
    head_dim_of,
    norm_params,
    read_rope,
    rope_fields,
    windows,
)
from penstock.models.params import Param, whole
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec, NormSpec


def llama_mlp(config: Any, width: int) -> MlpSpec:
    """Return the gated feed-forward of the usual config fields."""
    return MlpSpec(width, checked_act(config.hidden_act), bias=bool(get(config, "mlp_bias", False)))


@dataclass(frozen=True, slots=True)
class LlamaAdapter:
    """Pre-norm blocks with RMS norms, rotary attention and a gated feed-forward."""

    windowed: bool = False
    """The family honours ``sliding_window``."""
    qkv_bias: bool = False
    """Biases on q, k and v always (Qwen2); otherwise ``attention_bias`` decides on them and on the output."""
    qk_norm: bool = False
    prefixes: tuple[str, ...] = ("model.", "")

    def spec(self, config: Any) -> ModelSpec:
        """See `Adapter.spec`."""
        dim = head_dim_of(config)
        mlp = llama_mlp(config, int(config.intermediate_size))
        per_layer = windows(config) if self.windowed else [None] * config.num_hidden_layers
        blocks = tuple(
            BlockSpec(attention_layer(config, i, window=window, scale=dim**-0.5), mlp)
            for i, window in enumerate(per_layer)
        )
        bias = bool(get(config, "attention_bias", False))
        return ModelSpec(
            **base_spec(config, blocks),
            norm=NormSpec("rms", float(config.rms_norm_eps)),
            norm_sites=frozenset(("attn_in", "mlp_in")),
            ropes=(read_rope(config, dim, rope_fields(config)),),
            qkv_bias=bias or self.qkv_bias,
            out_bias=bias and not self.qkv_bias,
            qk_norm=self.qk_norm,
        )

    def params(self, spec: ModelSpec) -> list[Param]:
        """See `Adapter.params`."""
        names = Names()
        params = edge_params(spec, names)
        for block in spec.blocks:
            params.extend(attention_params(spec, block, names))
            params.extend(gated_mlp_params(spec, block, names))
        return params


@dataclass(frozen=True, slots=True)
class Phi3Adapter:
    """Phi-3: Llama with fused query-key-value and gate-up tensors."""

    prefixes: tuple[str, ...] = ("model.", "")

    def spec(self, config: Any) -> ModelSpec:
        """See `Adapter.spec`."""
        return LlamaAdapter(windowed=True).spec(config)

    def params(self, spec: ModelSpec) -> list[Param]:
        """See `Adapter.params`."""
        names = Names()
        params = edge_params(spec, names)
        for block in spec.blocks:
            layer, mlp, i = block.attention, block.mlp, block.attention.index
            at = names.root + names.layer.format(i=i)
            q, k = layer.heads * layer.head_dim, layer.kv_heads * layer.head_dim
            params += [
                Param(f"{i}.qkv", (q + 2 * k, spec.hidden), whole(f"{at}self_attn.qkv_proj.weight")),
                Param(f"{i}.out", (spec.hidden, q), whole(f"{at}self_attn.o_proj.weight")),
                Param(f"{i}.up", (2 * mlp.width, spec.hidden), whole(f"{at}mlp.gate_up_proj.weight")),
                Param(f"{i}.down", (spec.hidden, mlp.width), whole(f"{at}mlp.down_proj.weight")),
            ]
            for site, module in names.norms.items():
                params.extend(norm_params(f"{i}.{site}", at + module, spec.hidden, spec.norm))
        return params
