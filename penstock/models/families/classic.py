"""The older families with layer norms and plain feed-forwards: OPT and GPT-NeoX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from penstock.models.families.base import (
    Names,
    attention_layer,
    attention_params,
    base_spec,
    checked_act,
    edge_params,
    get,
    head_dim_of,
    norm_params,
    read_rope,
    rope_fields,
)
from penstock.models.params import Param, Piece, Recipe, whole
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec, NormSpec

_OPT_POSITION_OFFSET = 2
"""The first two rows of OPT's position table belong to padding."""


def plain_mlp_params(spec: ModelSpec, block: BlockSpec, up: str, down: str) -> list[Param]:
    """Return the tensors of a feed-forward without a gate; ``up`` and ``down`` are module names."""
    mlp, i = block.mlp, block.attention.index
    assert isinstance(mlp, MlpSpec)
    params = [
        Param(f"{i}.up", (mlp.width, spec.hidden), whole(f"{up}.weight")),
        Param(f"{i}.down", (spec.hidden, mlp.width), whole(f"{down}.weight")),
    ]
    if mlp.bias:
        params.append(Param(f"{i}.up_bias", (mlp.width,), whole(f"{up}.bias"), "zero"))
        params.append(Param(f"{i}.down_bias", (spec.hidden,), whole(f"{down}.bias"), "zero"))
    return params


@dataclass(frozen=True, slots=True)
class OptAdapter:
    """OPT: learned positions; norms before the sublayers or (350m) after the sums; narrow embeddings."""

    prefixes: tuple[str, ...] = ("model.decoder.", "decoder.", "")

    def spec(self, config: Any) -> ModelSpec:
        """See `Adapter.spec`."""
        bias, before = bool(config.enable_bias), bool(config.do_layer_norm_before)
        mlp = MlpSpec(int(config.ffn_dim), checked_act(config.activation_function), gated=False, bias=bias)
        scale = head_dim_of(config) ** -0.5
        blocks = tuple(
            BlockSpec(attention_layer(config, i, window=None, scale=scale), mlp, rope=None)
            for i in range(config.num_hidden_layers)
        )
        narrow = int(get(config, "word_embed_proj_dim", config.hidden_size))
        return ModelSpec(
            **base_spec(config, blocks, tied=bool(get(config, "tie_word_embeddings", True))),
            norm=NormSpec("layer", 1e-5, affine=bool(config.layer_norm_elementwise_affine)),
            norm_sites=frozenset(("attn_in", "mlp_in") if before else ("attn_sum", "mlp_sum")),
            embed_dim=0 if narrow == config.hidden_size else narrow,
            learned_positions=int(config.max_position_embeddings) + _OPT_POSITION_OFFSET,
            position_offset=_OPT_POSITION_OFFSET,
            qkv_bias=bias,
            out_bias=bias,
            final_norm=before and not get(config, "_remove_final_layer_norm", False),
        )

    def params(self, spec: ModelSpec) -> list[Param]:
        """See `Adapter.params`."""
        first = "attn_in" if "attn_in" in spec.norm_sites else "attn_sum"
        second = "mlp_in" if "mlp_in" in spec.norm_sites else "mlp_sum"
        names = Names(
            root="model.decoder.",
            final="final_layer_norm",
            out="self_attn.out_proj",
            norms={first: "self_attn_layer_norm", second: "final_layer_norm"},
        )
        params = edge_params(spec, names)
        shape = (spec.learned_positions, spec.hidden)
        params.append(Param("positions", shape, whole(f"{names.root}embed_positions.weight")))
        if spec.embed_dim:
            width, hidden = spec.embed_dim, spec.hidden
            params.append(Param("project_in", (hidden, width), whole(f"{names.root}project_in.weight")))
            params.append(Param("project_out", (width, hidden), whole(f"{names.root}project_out.weight")))
        for block in spec.blocks:
            at = names.root + names.layer.format(i=block.attention.index)
            params.extend(attention_params(spec, block, names))
            params.extend(plain_mlp_params(spec, block, f"{at}fc1", f"{at}fc2"))
        return params


def _interleaved(heads: int, part: int) -> Callable[[Tensor], Tensor]:
    """Return a function that picks q, k or v (0, 1, 2) of rows laid out as [head, part, dim]."""

    def take(fused: Tensor) -> Tensor:
        return fused.view(heads, 3, -1, *fused.shape[1:])[:, part].flatten(0, 1)

    return take


@dataclass(frozen=True, slots=True)
class NeoxAdapter:
    """GPT-NeoX and Pythia: parallel residual, rotation of a share of each head, fused q, k, v by head."""

    prefixes: tuple[str, ...] = ("gpt_neox.", "")

    def spec(self, config: Any) -> ModelSpec:
        """See `Adapter.spec`."""
        dim, bias = head_dim_of(config), bool(get(config, "attention_bias", True))
        mlp = MlpSpec(int(config.intermediate_size), checked_act(config.hidden_act), gated=False, bias=True)
        blocks = tuple(
            BlockSpec(attention_layer(config, i, window=None, scale=dim**-0.5), mlp)
            for i in range(config.num_hidden_layers)
        )
        return ModelSpec(
            **base_spec(config, blocks),
            norm=NormSpec("layer", float(config.layer_norm_eps)),
            norm_sites=frozenset(("attn_in", "mlp_in")),
            ropes=(read_rope(config, dim, rope_fields(config)),),
            qkv_bias=bias,
            out_bias=bias,
            parallel=bool(config.use_parallel_residual),
        )

    def params(self, spec: ModelSpec) -> list[Param]:
        """See `Adapter.params`."""
        names = Names(
            root="gpt_neox.", embed="embed_in.weight", head="embed_out.weight", final="final_layer_norm"
        )
        params = edge_params(spec, names)
        for block in spec.blocks:
            layer, i = block.attention, block.attention.index
            at, q = names.root + names.layer.format(i=i), layer.heads * layer.head_dim

            def fused(kind: str, at: str = at, q: int = q, heads: int = layer.heads) -> tuple[Recipe, ...]:
                name = f"{at}attention.query_key_value.{kind}"
                spots = [slice(part * q, (part + 1) * q) for part in range(3)]
                return (tuple(Piece(name, (s,), _interleaved(heads, part)) for part, s in enumerate(spots)),)

            params.append(Param(f"{i}.qkv", (3 * q, spec.hidden), fused("weight")))
            params.append(Param(f"{i}.out", (spec.hidden, q), whole(f"{at}attention.dense.weight")))
            if spec.qkv_bias:
                params.append(Param(f"{i}.qkv_bias", (3 * q,), fused("bias"), "zero"))
                out = whole(f"{at}attention.dense.bias")
                params.append(Param(f"{i}.out_bias", (spec.hidden,), out, "zero"))
            params += plain_mlp_params(spec, block, f"{at}mlp.dense_h_to_4h", f"{at}mlp.dense_4h_to_h")
            for site, module in names.norms.items():
                params.extend(norm_params(f"{i}.{site}", at + module, spec.hidden, spec.norm))
        return params
