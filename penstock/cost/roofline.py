"""Step time from first principles: per kind of operation the larger of arithmetic and memory traffic.

``T = t0 + sum over operations of max(flops / (eff * F), bytes / (eff * BW)) + communication`` (the form that
Vidur, GenZ and the scaling literature share). Matrix products read their weights once per layer and step, so
all dense ones change from bandwidth to compute bound at the same number of rows and are one term here; the
output head runs for sampled rows only; experts are read when at least one row chose them.
"""

from __future__ import annotations

from penstock.core.errors import ConfigError
from penstock.core.plan import PlanShape
from penstock.cost.hardware import Hardware
from penstock.cost.shapes import ModelShape

TABLE = 4096
"""Rows up to which the number of distinct experts is tabled; beyond, every expert is touched."""


def distinct_experts(rows: int, experts: int, top_k: int) -> float:
    """Experts that ``rows`` rows touch in one layer on average, each row choosing ``top_k`` uniformly."""
    return experts * (1.0 - (1.0 - top_k / experts) ** rows)


class Roofline:
    """Analytic cost model.

    Args:
        model: sizes of the model.
        hardware: one device.
        tp: devices that share every layer (tensor parallel); two all-reduces per layer.
        pp: devices that share the layers (pipeline parallel). A step's time is divided by it: right for the
            rate of a full pipeline, not for the latency of a lone step.

    Raises:
        ConfigError: a degree below one.
    """

    def __init__(self, model: ModelShape, hardware: Hardware, tp: int = 1, pp: int = 1) -> None:
        if tp < 1 or pp < 1:
            raise ConfigError("hardware", f"parallel degrees must be at least 1, got tp={tp}, pp={pp}")
        self.model, self.hardware, self.tp, self.pp = model, hardware, tp, pp
        m, h = model, hardware
        flops = h.flops * h.compute_efficiency * tp
        reach = h.bandwidth * h.bandwidth_efficiency * tp
        self._base = h.overhead
        self._layers = m.layers
        # Per layer: seconds per row, seconds per pass, of the dense matrices; activations written and read.
        self._row = 2.0 * m.dense_params / m.layers / flops
        self._pass = m.dense_params / m.layers * m.weight_width / reach
        self._io = 8.0 * m.hidden * m.weight_width / reach
        self._moe_share = m.moe_layers / m.layers
        self._expert_row = 2.0 * m.top_k * m.expert_params / flops
        expert_pass = m.expert_params * (m.expert_width or m.weight_width) / reach
        self._expert_pass = [
            distinct_experts(n, m.experts, m.top_k) * expert_pass
            for n in range(TABLE + 1 if m.experts else 0)
        ]
        # All layers together: seconds per query-key pair and per KV token read; KV heads are not split.
        self._pair = 4.0 * m.layers * m.query_heads * m.head_dim / flops
        self._read = m.kv_bytes_per_token / m.kv_heads * max(m.kv_heads, tp) / reach
        self._window = m.window
        self._windowed = m.window_layers / m.layers
        self._head_row = 2.0 * m.head_params / flops
        self._head_pass = m.head_params * m.weight_width / reach
        width = m.hidden * m.weight_width
        self._sync = 2.0 * h.link_latency if tp > 1 else 0.0
        self._exchange = 4.0 * (tp - 1) / tp * width / (h.link * h.link_efficiency) if tp > 1 else 0.0

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        rows, samples = shape.tokens, shape.samples
        pairs: float = shape.prefill_pairs
        context: float = shape.prefill_context
        cohort = shape.cohort_tokens
        if cohort:
            part = min(shape.cohort_layers, self._layers)
            seconds = part * self._layer(rows) + (self._layers - part) * self._layer(rows - cohort)
            share = 1.0 - cohort / (shape.prefill_tokens or cohort) * (1.0 - part / self._layers)
            pairs, context = pairs * share, context * share
        else:
            seconds = self._layers * self._layer(rows)
        kv: float = shape.kv_tokens
        if self._windowed:
            kv -= self._windowed * max(0, kv - shape.decodes * self._window)
            pairs -= self._windowed * max(0, pairs - shape.prefill_tokens * self._window)
        seconds += max(kv * self._pair, kv * self._read)
        seconds += max(pairs * self._pair, (context + shape.prefill_tokens) * self._read)
        if samples:
            seconds += max(samples * self._head_row, self._head_pass)
        return self._base + seconds / self.pp

    def _layer(self, rows: int) -> float:
        """Seconds of one layer on average, without attention, for ``rows`` rows."""
        if rows <= 0:
            return 0.0
        seconds = max(rows * self._row, self._pass) + rows * (self._io + self._exchange) + self._sync
        if self._expert_pass:
            read = self._expert_pass[rows if rows < TABLE else TABLE]
            seconds += self._moe_share * max(rows * self._expert_row, read)
        return seconds

    def describe(self) -> str:
        """Return one line that says what is modelled."""
        degree = f" x{self.tp}" if self.tp > 1 else ""
        stages = f", {self.pp} stages" if self.pp > 1 else ""
        return f"roofline of {self.model.name} on {self.hardware.name}{degree}{stages}"


def kv_blocks(
    hardware: Hardware,
    model: ModelShape,
    tp: int = 1,
    page_size: int = 16,
    utilisation: float = 0.9,
    workspace: float = 1e9,
) -> int:
    """Return the KV blocks that fit beside the weights.

    Args:
        hardware: one device.
        model: sizes of the model.
        tp: devices that share the model.
        page_size: tokens per block.
        utilisation: share of each device's memory that may be used.
        workspace: bytes per device for activations and libraries.

    Raises:
        ConfigError: not one block fits.
    """
    room = (hardware.memory * utilisation - workspace) * tp - model.weight_bytes
    per_token = model.kv_bytes_per_token / model.kv_heads * max(model.kv_heads, tp)
    blocks = int(room // (per_token * page_size))
    if blocks < 1:
        raise ConfigError(
            "hardware",
            f"{model.name} ({model.weight_bytes / 1e9:.1f} GB of weights) leaves no room for KV on "
            f"{tp} x {hardware.name} ({hardware.memory * utilisation / 1e9:.1f} GB each)",
        )
    return blocks
