"""Llama and the families that differ from it by switches: Mistral, Qwen2, Qwen3."""

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
    read_rope,
    rope_fields,
)
from penstock.models.params import Param
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec, NormSpec


def windows(config: Any) -> list[int | None]:
    """Return each layer's window: by ``layer_types`` where the config lists them, else the same for all."""
    window = get(config, "sliding_window")
    kinds = get(config, "layer_types")
    if kinds is None:
        return [window] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


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
        mlp = MlpSpec(
            int(config.intermediate_size),
            checked_act(config.hidden_act),
            bias=bool(get(config, "mlp_bias", False)),
        )
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
