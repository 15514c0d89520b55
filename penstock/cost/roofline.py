"""Step time from first principles: the larger of arithmetic and memory traffic, plus a fixed part."""

from __future__ import annotations

import msgspec

from penstock.core.plan import PlanShape


class ModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a model that its step time depends on."""

    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    active_params: int
    """Parameters of the layers that one token passes through (embedding and output head left out)."""
    head_params: int
    """Parameters of the output head, used for sampled rows only."""
    weight_bytes: int
    """Bytes of weights that one step reads."""
    kv_bytes_per_token: int
    """Bytes of KV that one token occupies, all layers together."""


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What a device can do at best, and what share of it is reached."""

    flops: float
    """Dense arithmetic operations per second at the model's precision."""
    bandwidth: float
    """Bytes per second from the memory that holds weights and KV."""
    compute_efficiency: float = 0.6
    bandwidth_efficiency: float = 0.8
    overhead: float = 2e-4
    """Seconds per step that neither arithmetic nor memory explains."""


class Roofline:
    """Analytic cost model; dense GEMMs count two operations per parameter and token.

    Args:
        model: sizes of the model.
        hardware: the device.
    """

    def __init__(self, model: ModelShape, hardware: Hardware) -> None:
        self._m = model
        self._flops = hardware.flops * hardware.compute_efficiency
        self._bandwidth = hardware.bandwidth * hardware.bandwidth_efficiency
        self._overhead = hardware.overhead

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        m = self._m
        dense = 2.0 * (m.active_params * shape.tokens + m.head_params * shape.samples)
        pairs = shape.prefill_pairs + shape.kv_tokens
        attention = 4.0 * m.layers * m.query_heads * m.head_dim * pairs
        gemm = max(dense / self._flops, m.weight_bytes / self._bandwidth)
        decode = max(
            4.0 * m.layers * m.query_heads * m.head_dim * shape.kv_tokens / self._flops,
            shape.kv_tokens * m.kv_bytes_per_token / self._bandwidth,
        )
        prefill = (attention - 4.0 * m.layers * m.query_heads * m.head_dim * shape.kv_tokens) / self._flops
        return self._overhead + gemm + decode + prefill
