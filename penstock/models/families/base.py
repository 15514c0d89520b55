"""What an adapter is, and the config reading and parameter tables that families share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from penstock.core.errors import ConfigError
from penstock.kernels.layer_spec import LayerSpec, Mask
from penstock.kernels.ops import ACTIVATIONS
from penstock.models.params import Param, stacked, whole
from penstock.models.rope import KINDS, longrope_attention_factor, yarn_attention_factor
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec


class Adapter(Protocol):
    """Reads one family of Hugging Face configs and checkpoints."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """See `penstock.models.checkpoint.Checkpoint`."""
        ...

    def spec(self, config: Any) -> ModelSpec:
        """Return the decoder that a transformers config describes.

        Raises:
            ConfigError: the config asks for something that is not supported.
        """
        ...

    def params(self, spec: ModelSpec) -> list[Param]:
        """Return the table of parameters and the checkpoint tensors they come from."""
        ...


def get(config: Any, name: str, default: Any = None) -> Any:
    """Return a config field, or the default when it is absent or None."""
    value = getattr(config, name, None)
    return default if value is None else value


def head_dim_of(config: Any) -> int:
    """Return the explicit head dim, or hidden size / heads."""
    return int(get(config, "head_dim", config.hidden_size // config.num_attention_heads))


def checked_act(name: str) -> str:
    """Return the activation name.

    Raises:
        ConfigError: not supported.
    """
    if name not in ACTIVATIONS:
        raise ConfigError("config.hidden_act", f"expected one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return name


def token_ids(value: Any) -> tuple[int, ...]:
    """Return a config's one or many or no token ids as a tuple."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (int(value),)


def dtype_of(config: Any) -> torch.dtype:
    """Return the checkpoint's dtype as the config states it; float32 if it does not."""
    value = get(config, "dtype") or get(config, "torch_dtype", torch.float32)
    found = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else value
    if not isinstance(found, torch.dtype) or found not in (torch.float32, torch.bfloat16, torch.float16):
        raise ConfigError("config.dtype", f"expected float32, bfloat16 or float16, got {value!r}")
    return found


def rope_fields(config: Any, layer_type: str | None = None) -> Mapping[str, Any]:
    """Return the rope settings in one shape, whether the config is of transformers 4 or 5.

    Version 5 keeps all in ``rope_parameters`` (per layer type in some families); version 4 has
    ``rope_theta``, ``partial_rotary_factor`` and ``rope_scaling`` side by side.
    """
    fields = dict(get(config, "rope_parameters", {}) or get(config, "rope_scaling", {}))
    if layer_type is not None and layer_type in fields:
        fields = dict(fields[layer_type] or {})
    # GPT-NeoX has names of its own in version 4.
    theta = get(config, "rope_theta", get(config, "rotary_emb_base", 10000.0))
    fields.setdefault("rope_theta", theta)
    share = get(config, "partial_rotary_factor", get(config, "rotary_pct", 1.0))
    fields.setdefault("partial_rotary_factor", share)
    fields.setdefault("rope_type", fields.get("type", "default"))
    return fields


def read_rope(config: Any, head_dim: int, fields: Mapping[str, Any]) -> RopeSpec:
    """Return the rope of the settings that `rope_fields` gave.

    Raises:
        ConfigError: unknown kind, or a field that the kind needs is missing.
    """
    kind = {"su": "longrope"}.get(fields["rope_type"], fields["rope_type"])
    if kind not in KINDS:
        raise ConfigError("config.rope_scaling", f"expected one of {', '.join(KINDS)}, got {kind!r}")
    max_position = int(config.max_position_embeddings)
    original = int(
        fields.get("original_max_position_embeddings")
        or get(config, "original_max_position_embeddings", max_position)
    )
    try:
        factor = float(fields.get("factor") or max_position / original)
        if kind in ("linear", "dynamic", "llama3"):
            factor = float(fields["factor"])
        return RopeSpec(
            dim=int(head_dim * fields["partial_rotary_factor"]),
            theta=float(fields["rope_theta"]),
            kind=kind,
            factor=factor,
            original_max=original,
            max_position=max_position,
            low_freq_factor=float(fields["low_freq_factor"]) if kind == "llama3" else 1.0,
            high_freq_factor=float(fields["high_freq_factor"]) if kind == "llama3" else 4.0,
            beta_fast=float(fields.get("beta_fast") or 32.0),
            beta_slow=float(fields.get("beta_slow") or 1.0),
            truncate=bool(fields.get("truncate", True)),
            attention_factor=_attention_factor(kind, factor, original, fields),
            short_factor=tuple(fields["short_factor"]) if kind == "longrope" else (),
            long_factor=tuple(fields["long_factor"]) if kind == "longrope" else (),
        )
    except KeyError as error:
        raise ConfigError("config.rope_scaling", f"kind {kind!r} needs the field {error}") from error


def _attention_factor(kind: str, factor: float, original: int, fields: Mapping[str, Any]) -> float:
    given = fields.get("attention_factor")
    if kind not in ("yarn", "longrope"):
        return 1.0
    if given is not None:
        return float(given)
    if kind == "longrope":
        return longrope_attention_factor(factor, original)
    return yarn_attention_factor(factor, fields.get("mscale"), fields.get("mscale_all_dim"))


def windows(config: Any) -> list[int | None]:
    """Return each layer's window: by ``layer_types`` where the config lists them, else the same for all."""
    window = get(config, "sliding_window")
    kinds = get(config, "layer_types")
    if kinds is None:
        return [window] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


@dataclass(frozen=True, slots=True)
class Names:
    """Where a family's checkpoint keeps the tensors of a decoder, for those that follow the common scheme."""

    root: str = "model."
    embed: str = "embed_tokens.weight"
    head: str = "lm_head.weight"
    final: str = "norm"
    layer: str = "layers.{i}."
    out: str = "self_attn.o_proj"
    norms: Mapping[str, str] = field(
        default_factory=lambda: {"attn_in": "input_layernorm", "mlp_in": "post_attention_layernorm"}
    )
    """Norm site -> module name within the layer."""


def base_spec(config: Any, blocks: tuple[BlockSpec, ...], **more: Any) -> dict[str, Any]:
    """Return the `ModelSpec` fields that every family reads alike; ``more`` overrides them."""
    fields: dict[str, Any] = {
        "architecture": (get(config, "architectures", [type(config).__name__]))[0],
        "vocab_size": int(config.vocab_size),
        "hidden": int(config.hidden_size),
        "blocks": blocks,
        "max_position": int(config.max_position_embeddings),
        "dtype": dtype_of(config),
        "tied": bool(get(config, "tie_word_embeddings", False)),
        "eos_ids": token_ids(get(config, "eos_token_id")),
        "bos_id": get(config, "bos_token_id"),
        "pad_id": get(config, "pad_token_id"),
    }
    return {**fields, **more}


def attention_layer(config: Any, index: int, *, window: int | None, scale: float, **more: Any) -> LayerSpec:
    """Return the attention layer of the usual config fields."""
    heads = int(config.num_attention_heads)
    return LayerSpec(
        index=index,
        heads=heads,
        kv_heads=int(get(config, "num_key_value_heads", heads)),
        head_dim=head_dim_of(config),
        scale=scale,
        mask=Mask(int(window) if window else None),
        **more,
    )


def norm_params(name: str, source: str, width: int, norm: NormSpec) -> Iterable[Param]:
    """Yield weight (and bias of a layer norm) of one norm."""
    if not norm.affine:
        return
    yield Param(name, (width,), whole(f"{source}.weight"), "zero" if norm.offset else "one")
    if norm.kind == "layer":
        yield Param(f"{name}_bias", (width,), whole(f"{source}.bias"), "zero")


def edge_params(spec: ModelSpec, names: Names) -> list[Param]:
    """Return embedding, head and final norm."""
    shape = (spec.vocab_size, spec.width)
    params = [Param("embed", shape, whole(names.root + names.embed))]
    if not spec.tied:
        params.append(Param("head", shape, whole(names.head)))
    if spec.final_norm:
        params.extend(norm_params("final", names.root + names.final, spec.hidden, spec.norm))
    return params


def attention_params(spec: ModelSpec, block: BlockSpec, names: Names) -> list[Param]:
    """Return the projections and norms of one attention layer with separate q, k and v tensors."""
    layer, at = block.attention, names.root + names.layer.format(i=block.attention.index)
    q, k = layer.heads * layer.head_dim, layer.kv_heads * layer.head_dim
    rows = (("q_proj", q), ("k_proj", k), ("v_proj", k))
    i = layer.index

    def qkv(part: str) -> tuple[tuple[Any, ...], ...]:
        return (stacked(*((f"{at}self_attn.{name}.{part}", size) for name, size in rows)),)

    params = [
        Param(f"{i}.qkv", (q + 2 * k, spec.hidden), qkv("weight")),
        Param(f"{i}.out", (spec.hidden, q), whole(f"{at}{names.out}.weight")),
    ]
    if spec.qkv_bias:
        params.append(Param(f"{i}.qkv_bias", (q + 2 * k,), qkv("bias"), "zero"))
    if spec.out_bias:
        params.append(Param(f"{i}.out_bias", (spec.hidden,), whole(f"{at}{names.out}.bias"), "zero"))
    if spec.qk_norm:
        for short in ("q_norm", "k_norm"):
            source = f"{at}self_attn.{short}"
            params.extend(norm_params(f"{i}.{short}", source, layer.head_dim, spec.norm))
    for site, module in names.norms.items():
        params.extend(norm_params(f"{i}.{site}", at + module, spec.hidden, spec.norm))
    return params


def gated_mlp_params(spec: ModelSpec, block: BlockSpec, names: Names) -> list[Param]:
    """Return the tensors of a gated feed-forward with separate gate and up."""
    mlp, i = block.mlp, block.attention.index
    assert isinstance(mlp, MlpSpec)
    at = names.root + names.layer.format(i=i) + "mlp."
    rows = (("gate_proj", mlp.width), ("up_proj", mlp.width))
    params = [
        Param(
            f"{i}.up",
            (2 * mlp.width, spec.hidden),
            (stacked(*((f"{at}{name}.weight", size) for name, size in rows)),),
        ),
        Param(f"{i}.down", (spec.hidden, mlp.width), whole(f"{at}down_proj.weight")),
    ]
    if mlp.bias:
        bias = stacked(*((f"{at}{name}.bias", size) for name, size in rows))
        params.append(Param(f"{i}.up_bias", (2 * mlp.width,), (bias,), "zero"))
        params.append(Param(f"{i}.down_bias", (spec.hidden,), whole(f"{at}down_proj.bias"), "zero"))
    return params
