"""What the machine allows at best: bytes over bandwidth, operations over arithmetic peak.

A prompt's tokens need two operations per parameter of the layers, and attention; a decode step must read
every weight and the keys and values of every sequence once. The floor of a workload is its prompts at the
arithmetic peak, then all its requests decoding in one batch at the bandwidth, without overlap and without
the arithmetic of decoding; a prefix that all share is computed once, and read once per step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .models import Shape

WEIGHT_BYTES = {"bf16": 2.0, "int8": 34 / 32, "int4": 18 / 32}
"""Per weight: quantised ones as in GGUF's Q8_0 and Q4_0, a 16-bit scale for 32 codes, for every engine
alike."""


@dataclass(frozen=True)
class Machine:
    """What the probe measured."""

    bandwidth: float
    """Bytes per second, read."""
    gemm: float
    """Floating-point operations per second of a large bfloat16 product."""


def weight_bytes(shape: Shape, precision: str) -> float:
    """Return the bytes that a decode step reads of the weights."""
    return (shape.layer_parameters + shape.head_parameters) * WEIGHT_BYTES[precision]


def _shared(workload: Mapping[str, Any]) -> int:
    """Return the tokens that all prompts begin with; 0 for a single request."""
    prompts: list[list[int]] = [request["prompt"] for request in workload["requests"]]
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)
    most = min(len(low), len(high))
    return next((index for index in range(most) if low[index] != high[index]), most)


def prefill_operations(shape: Shape, workload: Mapping[str, Any]) -> float:
    """Return the operations of all prompts; the output head only for their last tokens."""
    shared = _shared(workload)
    tokens, pairs = shared, shared * (shared + 1) / 2
    for request in workload["requests"]:
        length = len(request["prompt"])
        tokens += length - shared
        pairs += (length * (length + 1) - shared * (shared + 1)) / 2
    attention = 4 * shape.layers * shape.heads * shape.head_dim * pairs
    head = 2 * shape.head_parameters * len(workload["requests"])
    return 2 * shape.layer_parameters * tokens + attention + head


def decode_bytes(shape: Shape, workload: Mapping[str, Any], precision: str) -> float:
    """Return the bytes read by all steps after the first tokens, all requests in one batch."""
    shared, cached = _shared(workload), 0
    steps = max(int(request["output"]) for request in workload["requests"]) - 1
    for request in workload["requests"]:
        own, more = len(request["prompt"]) - shared, int(request["output"]) - 1
        cached += own * more + more * (more + 1) // 2
    return weight_bytes(shape, precision) * steps + (cached + shared * steps) * shape.kv_bytes_per_token


def floor_seconds(shape: Shape, workload: Mapping[str, Any], precision: str, machine: Machine) -> float:
    """Return the least seconds of a workload; see the module's text."""
    prefill = prefill_operations(shape, workload) / machine.gemm
    return prefill + decode_bytes(shape, workload, precision) / machine.bandwidth


def shares(
    shape: Shape,
    workload: Mapping[str, Any],
    precision: str,
    figures: Mapping[str, float | None],
    machine: Machine,
) -> dict[str, float]:
    """Return what part of the limit an engine reached.

    Returns:
        ``whole``: floor over seconds taken; for a single stream also ``decode``, of the bandwidth, and
        ``prefill``, of the arithmetic peak.
    """
    found = {"whole": floor_seconds(shape, workload, precision, machine) / (figures["seconds"] or 1.0)}
    itl, ttft = figures.get("itl"), figures.get("ttft")
    if len(workload["requests"]) == 1 and itl and ttft:
        steps = workload["requests"][0]["output"] - 1
        needed = decode_bytes(shape, workload, precision) / steps
        found["decode"] = needed / itl / machine.bandwidth
        found["prefill"] = prefill_operations(shape, workload) / ttft / machine.gemm
    return found
