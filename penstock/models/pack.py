"""Weights into the form that the dense operations like best, one by one: never are there two whole copies."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from penstock.kernels.codes import Codes, round_to_nearest
from penstock.kernels.ops import Ops, Weight
from penstock.models.params import BlockParams, ModelParams
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec


@dataclass(frozen=True, slots=True)
class Rounding:
    """To how many bits weights are rounded on loading; 0 leaves them as they are."""

    bits: int = 0
    group: int = 0
    """Inputs that share a scale under 4 bits; under 8 bits all of an output do."""

    def __call__(self, weight_OI: Tensor) -> Tensor | Codes:
        """Return a matrix of a block, rounded."""
        if not self.bits:
            return weight_OI
        return round_to_nearest(weight_OI, self.bits, self.group if self.bits == 4 else 0)

    def head(self, weight_OI: Tensor) -> Tensor | Codes:
        """Return the output head, rounded to 8 bits at most: errors there go straight into the choice."""
        return round_to_nearest(weight_OI, 8) if self.bits else weight_OI


class Packer:
    """Packs a model's parameters in place.

    Args:
        ops: whose form the weights get.
        rounding: what is done to them before.
    """

    def __init__(self, ops: Ops, rounding: Rounding) -> None:
        self._ops = ops
        self._round = rounding

    def pack(self, params: ModelParams, spec: ModelSpec) -> None:
        """Pack every matrix that is multiplied with. The embedding stays: its rows are looked up."""
        for block, own in zip(spec.blocks, params.blocks, strict=True):
            self._block(own, block)
        if isinstance(params.head, Tensor):
            params.head = self._ops.pack(self._round.head(params.head))
        params.project_in = self._maybe(params.project_in)
        params.project_out = self._maybe(params.project_out)

    def _block(self, own: BlockParams, block: BlockSpec) -> None:
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
        if isinstance(own.experts_up, Tensor):
            own.experts_up = [self._ops.pack(self._round(expert), None, mlp.act) for expert in own.experts_up]
        if isinstance(own.experts_down, Tensor):
            own.experts_down = [self._ops.pack(self._round(expert)) for expert in own.experts_down]

    def _packed(self, weight: Weight, bias: Tensor | None = None, gated: str | None = None) -> Weight:
        return self._ops.pack(self._round(weight), bias, gated) if isinstance(weight, Tensor) else weight

    def _maybe(
        self, weight: Weight | None, bias: Tensor | None = None, gated: str | None = None
    ) -> Weight | None:
        return None if weight is None else self._packed(weight, bias, gated)


def nbytes(weight: Weight | list[Weight] | None) -> int:
    """Return the bytes that a parameter takes; nothing takes none."""
    if weight is None:
        return 0
    if isinstance(weight, list):
        return sum(nbytes(one) for one in weight)
    return weight.nbytes
