"""How near decoding comes to what the memory of this machine allows.

A decode step must read every weight once and the cached keys and values of every sequence once:
``bytes = weights + cached tokens * bytes per token``. The bytes over the measured bandwidth is the least time
that the step can take; its share of the time taken is the share of the roofline. Steps with prefill rows are
left out, as arithmetic bounds them, and so are activations, which are small beside weights. A model that fits
into the processor's cache can exceed 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from penstock.core.plan import PlanShape


@dataclass(frozen=True, slots=True)
class DecodeShare:
    """What the decode steps of a run amount to."""

    steps: int
    seconds: float
    bytes_needed: int
    bandwidth: float
    """Bytes per second that the machine was measured to read."""

    @property
    def achieved(self) -> float:
        """Bytes per second that decoding got through."""
        return self.bytes_needed / self.seconds if self.seconds else 0.0

    @property
    def share(self) -> float:
        """Achieved over measured bandwidth; 0 when there was no pure decode step."""
        return self.achieved / self.bandwidth if self.bandwidth else 0.0


def decode_share(
    steps: Iterable[tuple[PlanShape, float]], weight_bytes: int, kv_bytes_per_token: float, bandwidth: float
) -> DecodeShare:
    """Return the share of the roofline over the steps that only decode.

    Args:
        steps: shape and seconds of each step.
        weight_bytes: read by every step.
        kv_bytes_per_token: keys and values of one token, all layers.
        bandwidth: from `measure_bandwidth`, bytes per second.
    """
    decodes = [(shape, seconds) for shape, seconds in steps if shape.decodes and not shape.prefill_tokens]
    needed = sum(weight_bytes + int(shape.kv_tokens * kv_bytes_per_token) for shape, _ in decodes)
    return DecodeShare(len(decodes), sum(seconds for _, seconds in decodes), needed, bandwidth)


def measure_bandwidth(device: str = "cpu", size: int = 256 * 2**20, repeats: int = 8) -> float:
    """Return the best read bandwidth seen, in bytes per second, with all threads that torch uses.

    Both a plain sum and a matrix-vector product, decode's own pattern, are tried over a buffer that no cache
    holds; the better of their best runs is the roof.

    Args:
        device: ``cpu`` or ``cuda``.
        size: bytes of the buffer; several times the last-level cache.
        repeats: runs of each kind.
    """
    import torch

    columns = 4096
    rows = size // (columns * 4)
    buffer = torch.ones(rows, columns, dtype=torch.float32, device=device)
    vector = torch.ones(columns, dtype=torch.float32, device=device)
    kinds: tuple[Callable[[], object], ...] = (buffer.sum, lambda: torch.mv(buffer, vector))
    best = float("inf")
    for kind in kinds:
        for _ in range(repeats):
            begun = time.perf_counter()
            kind()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - begun)
    return rows * columns * 4 / best
