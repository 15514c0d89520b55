"""Mixtures of experts: Mixtral, Qwen2-MoE, Qwen3-MoE. Checkpoints hold experts one by one or fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.models.families.base import (
    Names,
    attention_params,
    checked_act,
    edge_params,
    gated_mlp_params,
    get,
)
from penstock.models.families.llama import LlamaAdapter, llama_mlp
from penstock.models.params import Param, Piece, Recipe, stacked, whole
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec, MoeSpec

_MIXTRAL = ("block_sparse_moe.", "w1", "w3", "w2")
_QWEN = ("mlp.", "gate_proj", "up_proj", "down_proj")
"""Module, and the names of an expert's gate, up and down."""


@dataclass(frozen=True, slots=True)
class MixtralAdapter:
    """Mixtral: every block is a mixture, chosen weights always renormalised."""

    prefixes: tuple[str, ...] = ("model.", "")

    def spec(self, config: Any) -> ModelSpec:
        """See `Adapter.spec`."""
        dense = LlamaAdapter(windowed=True).spec(config)
        moe = MoeSpec(
            experts=int(config.num_local_experts),
            top_k=int(config.num_experts_per_tok),
            width=int(config.intermediate_size),
            act=checked_act(config.hidden_act),
            renormalise=True,
        )
        return replace(dense, blocks=tuple(replace(block, mlp=moe) for block in dense.blocks))

    def params(self, spec: ModelSpec) -> list[Param]:
        """See `Adapter.params`."""
        return moe_model_params(spec, (_MIXTRAL, _QWEN))


@dataclass(frozen=True, slots=True)
class QwenMoeAdapter:
    """Qwen2-MoE (with a shared expert) and Qwen3-MoE (with query and key norms)."""

    qk_norm: bool = False
    shared: bool = False
    prefixes: tuple[str, ...] = ("model.", "")

    def spec(self, config: Any) -> ModelSpec:
        """See `Adapter.spec`."""
        # Qwen2-MoE names its attention bias qkv_bias, and has none on the output.
        bias = self.shared and bool(get(config, "qkv_bias", True))
        dense = LlamaAdapter(windowed=True, qkv_bias=bias, qk_norm=self.qk_norm).spec(config)
        moe = MoeSpec(
            experts=int(config.num_experts),
            top_k=int(config.num_experts_per_tok),
            width=int(config.moe_intermediate_size),
            act=checked_act(config.hidden_act),
            renormalise=bool(config.norm_topk_prob),
            shared_width=int(config.shared_expert_intermediate_size) if self.shared else 0,
        )
        mlp = llama_mlp(config, int(config.intermediate_size))
        step, only = int(config.decoder_sparse_step), get(config, "mlp_only_layers", [])
        blocks = tuple(
            replace(block, mlp=moe if i not in only and moe.experts and (i + 1) % step == 0 else mlp)
            for i, block in enumerate(dense.blocks)
        )
        return replace(dense, blocks=blocks)

    def params(self, spec: ModelSpec) -> list[Param]:
        """See `Adapter.params`."""
        return moe_model_params(spec, (_QWEN,))


def moe_model_params(spec: ModelSpec, schemes: Sequence[tuple[str, str, str, str]]) -> list[Param]:
    """Return the table of a model whose blocks are mixtures or dense; ``schemes`` are tried in order."""
    names = Names()
    params = edge_params(spec, names)
    for block in spec.blocks:
        params.extend(attention_params(spec, block, names))
        if isinstance(block.mlp, MlpSpec):
            params.extend(gated_mlp_params(spec, block, names))
        else:
            at = names.root + names.layer.format(i=block.attention.index)
            params.extend(_moe_params(spec, block, block.mlp, at, schemes))
    return params


def _moe_params(
    spec: ModelSpec, block: BlockSpec, moe: MoeSpec, at: str, schemes: Sequence[tuple[str, str, str, str]]
) -> list[Param]:
    i, hidden, width = block.attention.index, spec.hidden, moe.width
    single_up: list[Recipe] = []
    single_down: list[Recipe] = []
    for module, gate, up, down in schemes:
        expert = [f"{at}{module}experts.{x}." for x in range(moe.experts)]
        halves = ((gate, slice(0, width)), (up, slice(width, 2 * width)))
        single_up.append(
            tuple(
                Piece(f"{prefix}{name}.weight", (x, half))
                for x, prefix in enumerate(expert)
                for name, half in halves
            )
        )
        single_down.append(tuple(Piece(f"{prefix}{down}.weight", (x,)) for x, prefix in enumerate(expert)))
    modules = [scheme[0] for scheme in schemes]
    fused_up = whole(*(f"{at}{module}experts.gate_up_proj" for module in modules))
    fused_down = whole(*(f"{at}{module}experts.down_proj" for module in modules))
    params = [
        Param(f"{i}.router", (moe.experts, hidden), whole(*(f"{at}{m}gate.weight" for m in modules))),
        Param(f"{i}.experts_up", (moe.experts, 2 * width, hidden), (*single_up, *fused_up)),
        Param(f"{i}.experts_down", (moe.experts, hidden, width), (*single_down, *fused_down)),
    ]
    if moe.shared_width:
        shared = moe.shared_width
        rows = tuple((f"{at}mlp.shared_expert.{name}.weight", shared) for name in ("gate_proj", "up_proj"))
        shared_down = whole(f"{at}mlp.shared_expert.down_proj.weight")
        params += [
            Param(f"{i}.shared_up", (2 * shared, hidden), (stacked(*rows),)),
            Param(f"{i}.shared_down", (hidden, shared), shared_down),
            Param(f"{i}.shared_gate", (1, hidden), whole(f"{at}mlp.shared_expert_gate.weight")),
        ]
    return params
