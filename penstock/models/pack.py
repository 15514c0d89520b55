"""Weights into the form that the dense operations like best, one by one: never are there two whole copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from penstock.kernels.codes import Codes, round_to_nearest
from penstock.kernels.ops import Ops, Weight
from penstock.models.params import BlockParams, ModelParams
from penstock.models.spec import BlockSpec, MlpSpec


@dataclass(frozen=True, slots=True)
class Rounding:
    """To how many bits weights are rounded on loading; 0 leaves them as they are."""

    bits: int = 0
    group: int = 0
    """Inputs that share a scale under 4 bits; under 8 bits all of an output do."""

    def __call__(self, weight_OI: Tensor | Codes) -> Tensor | Codes:
        """Return a matrix of a block, rounded; one that is quantised stays as it is."""
        if not self.bits or isinstance(weight_OI, Codes):
            return weight_OI
        return round_to_nearest(weight_OI, self.bits, self.group if self.bits == 4 else 0)

    def head(self, weight_OI: Tensor | Codes) -> Tensor | Codes:
        """Return the output head, rounded to 8 bits at most: errors there go straight into the choice."""
        if not self.bits or isinstance(weight_OI, Codes):
            return weight_OI
        return round_to_nearest(weight_OI, 8)


class Packer:
    """Packs a model's parameters in place.

    Args:
        ops: whose form the weights get.
        rounding: what is done to them before.
    """

    def __init__(self, ops: Ops, rounding: Rounding) -> None:
        self.ops = ops
        self.rounding = rounding

    def edges(self, params: ModelParams) -> None:
        """Pack what stands before and behind the blocks. An embedding stays: its rows are looked up."""
        tied = params.head is params.embed
        if isinstance(params.head, Tensor | Codes):
            params.head = self.ops.pack(self.rounding.head(params.head))
        if tied and not isinstance(params.head, Tensor) and params.head.has_rows:
            params.embed = params.head
        params.project_in = self._maybe(params.project_in)
        params.project_out = self._maybe(params.project_out)
        _unpacked(params)

    def block(self, own: BlockParams, block: BlockSpec) -> None:
        """Pack every matrix of a block that is multiplied with."""
        self._matrices(own, block)
        _unpacked(own)
        self.bundle(own)

    def bundle(self, own: BlockParams) -> None:
        """Bring the packed experts of a block into the form that the operations like best."""
        if own.experts_up is not None and own.experts_down is not None:
            own.experts_up = self.ops.bundle([*own.experts_up])
            own.experts_down = self.ops.bundle([*own.experts_down])

    def _matrices(self, own: BlockParams, block: BlockSpec) -> None:
        own.qkv = self._packed(own.qkv, own.qkv_bias)
        own.out = self._packed(own.out, own.out_bias)
        mlp = block.mlp
        if isinstance(mlp, MlpSpec):
            own.up = self._maybe(own.up, own.up_bias, mlp.act if mlp.gated else None)
            own.down = self._maybe(own.down, own.down_bias)
            return
        # The router stays as it is: it is small, and which expert is chosen hangs on its last bits.
        own.shared_up = self._maybe(own.shared_up, None, mlp.act)
        own.shared_down = self._maybe(own.shared_down)
        own.experts_up = self._experts(own.experts_up, mlp.act)
        own.experts_down = self._experts(own.experts_down)

    def _experts(
        self, weights: Tensor | Sequence[Weight] | None, gated: str | None = None
    ) -> Sequence[Weight] | None:
        if weights is None:
            return None
        return [self._packed(weight, None, gated) for weight in weights]

    def _packed(self, weight: Weight, bias: Tensor | None = None, gated: str | None = None) -> Weight:
        if not isinstance(weight, Tensor | Codes):
            return weight
        return self.ops.pack(self.rounding(weight), bias, gated)

    def _maybe(
        self, weight: Weight | None, bias: Tensor | None = None, gated: str | None = None
    ) -> Weight | None:
        return None if weight is None else self._packed(weight, bias, gated)


def _unpacked(params: ModelParams | BlockParams) -> None:
    """Spell out whatever is quantised still: no product takes it (embedding, router)."""
    for slot in params.__dataclass_fields__:
        found = getattr(params, slot)
        if isinstance(found, Codes):
            setattr(params, slot, found.plain())


def nbytes(weight: Weight | Sequence[Weight] | None) -> int:
    """Return the bytes that a parameter takes; nothing takes none."""
    if weight is None:
        return 0
    if isinstance(weight, Sequence):
        return sum(nbytes(one) for one in weight)
    return weight.nbytes
