"""Measures what the machine can read and multiply; prints one JSON object. Run in a process of its own.

    python -m benchmarks.peers.probe THREADS

The arithmetic peak is the better of our own kernel and torch's product, both bfloat16 with packed or plain
weights: what software reaches, which with AMX lies well below what the units could do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

SIZE = 2048
REPEATS = 4


def _best(call: Callable[[], object]) -> float:
    call()
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
    return 2 * SIZE**3 / best


def _own(threads: int) -> tuple[float, str]:
    """Return the rate of our kernel and its instruction set; 0 where there is none."""
    import torch

    from penstock.kernels.native.found import Missing
    from penstock.kernels.native.library import isa, start_team

    try:
        start_team(threads)
    except Missing:
        return 0.0, "none"
    from penstock.kernels.native.ops import NativeOps
    from penstock.kernels.ops import TorchOps

    ops = NativeOps(TorchOps())
    weight = ops.pack(torch.randn(SIZE, SIZE).bfloat16())
    x = torch.randn(SIZE, SIZE).bfloat16()
    return _best(lambda: ops.linear(x, weight)), isa()


def probe(threads: int, read_bytes: int | None = None) -> dict[str, Any]:
    """Return bytes and operations per second.

    Args:
        threads: of torch and of the kernels.
        read_bytes: buffer of the read test; None takes more than any cache holds, within the memory there is.
    """
    import torch

    from penstock.bench.machine import machine
    from penstock.bench.roofline import measure_bandwidth

    torch.set_num_threads(threads)
    facts = machine()
    size = read_bytes or min(2**31, facts["memory_bytes"] // 8 or 2**28)
    bandwidth = measure_bandwidth(size=size, repeats=REPEATS)
    own, instructions = _own(threads)
    x, y = torch.randn(SIZE, SIZE).bfloat16(), torch.randn(SIZE, SIZE).bfloat16()
    plain = _best(lambda: x @ y)
    return {
        "bandwidth": bandwidth,
        "gemm": max(own, plain),
        "gemm_own": own,
        "gemm_torch": plain,
        "own_instructions": instructions,
        "amx": "amx_bf16" in facts["cpu_features"],
        "read_bytes": size,
        "threads": threads,
    }


if __name__ == "__main__":
    print(json.dumps(probe(int(sys.argv[1]))))
