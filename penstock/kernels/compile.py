"""The start-up compiler of the attention axes: checks the combination and binds the backend."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.attention.base import AttentionBackend, AttnNeed, LayerKV, WritingBackend
from penstock.kernels.attention.registry import choose_backend
from penstock.kernels.codec import Codec, RawCodec
from penstock.kernels.heads import HeadBackend, HeadPrep, PrepareHeads, Stepwise, Write
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.ops import Ops
from penstock.kernels.placement import Local, Placement
from penstock.kernels.planner import AllRows, RowPlanner
from penstock.kernels.selector import ReadAll, Selector
from penstock.kernels.store import KVStore


@dataclass(frozen=True)
class AttentionStack:
    """A checked combination of the four axes, bound to a backend."""

    layers: tuple[LayerSpec, ...]
    dtype: torch.dtype
    device: torch.device
    planner: RowPlanner
    codec: Codec
    selector: Selector
    placement: Placement
    backend: AttentionBackend
    need: AttnNeed
    write: Write
    """Stores keys and values: the backend's own way if it has one, else the codec's."""
    bytes_per_token: int
    """KV bytes of one token over all owner layers."""
    fingerprint: str
    """Salt of the prefix cache: layer visibility and every axis that changes what is stored."""

    def heads(self, layer: LayerSpec, prep: HeadPrep, ops: Ops) -> PrepareHeads:
        """Return the preparation of a layer's heads: the backend's own if it has one, else by ``ops``."""
        if isinstance(self.backend, HeadBackend):
            return self.backend.heads(layer, prep)
        return Stepwise(layer, prep, ops, self.write)

    def new_store(self, blocks: int, page_size: int) -> KVStore:
        """Allocate the pages.

        Raises:
            ConfigError: the backend cannot work with this page size.
        """
        reason = self.backend.refusal(replace(self.need, page_size=page_size))
        if reason is not None:
            raise ConfigError("cache.block_size", f"attention backend {self.backend.name}: {reason}")
        return KVStore(self.layers, self.codec, blocks, page_size, self.dtype, self.device)


def _codec_write(kv: LayerKV, slots_N: Tensor, k_NGD: Tensor, v_NGD: Tensor) -> None:
    kv.codec.write(kv.planes, slots_N, k_NGD, v_NGD)


@dataclass(frozen=True, slots=True)
class _Choice:
    layers: tuple[LayerSpec, ...]
    planner: RowPlanner
    codec: Codec
    selector: Selector
    batch_invariant: bool


def _heads_divide(choice: _Choice) -> str | None:
    for layer in choice.layers:
        if layer.kv_heads < 1 or layer.heads % layer.kv_heads:
            return f"layer {layer.index}: {layer.heads} heads is no multiple of {layer.kv_heads} KV heads"
    return None


def _windows_positive(choice: _Choice) -> str | None:
    for layer in choice.layers:
        if layer.window is not None and layer.window < 1:
            return f"layer {layer.index}: window must be at least 1, got {layer.window}"
    return None


def _borrowers_follow_owners(choice: _Choice) -> str | None:
    by_index = {layer.index: layer for layer in choice.layers}
    for layer in choice.layers:
        owner = by_index.get(layer.owner)
        if owner is None or owner.owner != owner.index or owner.index > layer.index:
            return f"layer {layer.index} reads the KV of layer {layer.owner}, which is no earlier owner"
        if (owner.kv_heads, owner.head_dim) != (layer.kv_heads, layer.head_dim):
            return f"layer {layer.index} and its KV owner {owner.index} differ in KV heads or head dim"
    return None


def _invariance_needs_token_codec(choice: _Choice) -> str | None:
    if choice.batch_invariant and not choice.codec.per_token:
        return f"batch-invariant mode needs a codec that keeps tokens apart; {choice.codec.name} does not"
    return None


def _drop_needs_lone_rows(choice: _Choice) -> str | None:
    if choice.selector.kind == "drop" and choice.planner.name != "all":
        return f"selector {choice.selector.name} drops keys for good and needs row planner 'all'"
    return None


RULES: tuple[Callable[[_Choice], str | None], ...] = (
    _heads_divide,
    _windows_positive,
    _borrowers_follow_owners,
    _invariance_needs_token_codec,
    _drop_needs_lone_rows,
)
"""What must hold between the layers and the axes; each rule returns the reason to refuse, or None."""


def _check(choice: _Choice) -> None:
    for rule in RULES:
        reason = rule(choice)
        if reason is not None:
            raise ConfigError("model", reason)


def _fingerprint(layers: Sequence[LayerSpec], dtype: torch.dtype, parts: Sequence[str]) -> str:
    shape = [(s.owner, s.heads, s.kv_heads, s.head_dim, s.scale, s.window, s.softcap) for s in layers]
    text = repr((shape, str(dtype), tuple(parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def compile_attention(
    layers: Sequence[LayerSpec],
    dtype: torch.dtype,
    device: torch.device | str,
    *,
    codec: Codec | None = None,
    selector: Selector | None = None,
    planner: RowPlanner | None = None,
    placement: Callable[[AttentionBackend], Placement] = Local,
    attention: str = "auto",
    batch_invariant: bool = False,
    kernels: str = "torch",
) -> AttentionStack:
    """Check a combination of axes once at start, and bind it.

    Args:
        layers: description of every attention layer, in order.
        dtype: the model's dtype.
        device: where the KV lives and attention runs.
        codec: representation; raw if not given.
        selector: selection; everything if not given.
        planner: rows per layer; all if not given.
        placement: makes the placement from the bound backend; local if not given.
        attention: backend name or ``auto``.
        batch_invariant: a row's result must not depend on its batch-mates, nor on chunking.
        kernels: what computes the dense operations, ``torch`` or ``native``; attention shares its threads.

    Raises:
        ConfigError: a rule or every backend refused; the message says why.
    """
    codec = codec or RawCodec()
    selector = selector or ReadAll()
    planner = planner or AllRows()
    device = torch.device(device)
    choice = _Choice(tuple(layers), planner, codec, selector, batch_invariant)
    _check(choice)
    need = AttnNeed(device.type, dtype, codec.name, choice.layers, batch_invariant, kernels=kernels)
    backend = choose_backend(attention, need)
    owners = [layer for layer in layers if layer.owner == layer.index]
    return AttentionStack(
        layers=choice.layers,
        dtype=dtype,
        device=device,
        planner=planner,
        codec=codec,
        selector=selector,
        placement=placement(backend),
        backend=backend,
        need=need,
        write=backend.write if isinstance(backend, WritingBackend) else _codec_write,
        bytes_per_token=sum(
            plane.bytes_per_token(layer.kv_heads)
            for layer in owners
            for plane in codec.planes(layer, dtype).values()
        ),
        fingerprint=_fingerprint(
            layers, dtype, [codec.fingerprint(), selector.fingerprint(), planner.fingerprint()]
        ),
    )
