"""Gemma 2 and the text part of Gemma 3: norms on both sides of a sublayer, windowed and full layers mixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.core.errors import ConfigError
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
    windows,
)
from penstock.models.params import Param
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec

_NORMS = {
    "attn_in": "input_layernorm",
    "attn_out": "post_attention_layernorm",
    "mlp_in": "pre_feedforward_layernorm",
    "mlp_out": "post_feedforward_layernorm",
}


@dataclass(frozen=True, slots=True)
class GemmaAdapter:
    """Gemma 2, or with ``third`` Gemma 3 (query and key norms, a rope of its own for windowed layers)."""

    third: bool = False
    prefixes: tuple[str, ...] = ("model.", "", "language_model.model.", "model.language_model.")

    def spec(self, config: Any) -> ModelSpec:
        """See `Adapter.spec`."""
        if get(config, "use_bidirectional_attention", False):
            raise ConfigError("config.use_bidirectional_attention", "only causal attention is supported")
        scale = float(config.query_pre_attn_scalar) ** -0.5
        softcap = None if self.third else get(config, "attn_logit_softcapping")
        mlp = MlpSpec(int(config.intermediate_size), checked_act(config.hidden_activation))
        blocks = tuple(
            BlockSpec(
                attention_layer(config, i, window=window, scale=scale, softcap=softcap),
                mlp,
                rope=1 if self.third and window else 0,
            )
            for i, window in enumerate(windows(config))
        )
        bias = bool(get(config, "attention_bias", False))
        return ModelSpec(
            **base_spec(config, blocks, tied=bool(get(config, "tie_word_embeddings", True))),
            norm=NormSpec("rms", float(config.rms_norm_eps), offset=1.0),
            norm_sites=frozenset(("attn_in", "attn_out", "mlp_in", "mlp_out")),
            ropes=self._ropes(config),
            qkv_bias=bias,
            out_bias=bias,
            qk_norm=self.third,
            embed_scale=float(config.hidden_size) ** 0.5,
            logit_softcap=get(config, "final_logit_softcapping"),
        )

    def _ropes(self, config: Any) -> tuple[RopeSpec, ...]:
        dim = head_dim_of(config)
        if not self.third:
            return (read_rope(config, dim, rope_fields(config)),)
        full = rope_fields(config, "full_attention")
        if "sliding_attention" in (get(config, "rope_parameters") or {}):
            local = rope_fields(config, "sliding_attention")
        else:
            # Older configs scale the full layers only, and name the windowed layers' base apart.
            base = get(config, "rope_local_base_freq", 10000.0)
            local = {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": 1.0}
        return read_rope(config, dim, full), read_rope(config, dim, local)

    def params(self, spec: ModelSpec) -> list[Param]:
        """See `Adapter.params`."""
        names = Names(norms=_NORMS)
        params = edge_params(spec, names)
        for block in spec.blocks:
            params.extend(attention_params(spec, block, names))
            params.extend(gated_mlp_params(spec, block, names))
        return params
