"""A mixture of experts, in every format."""

from __future__ import annotations

import ctypes

import numpy as np

from tests.kernels_native.bounds.cases import case, width
from tests.kernels_native.bounds.linear import Form, draw_form, make_weight
from tests.kernels_native.bounds.memory import F32, Memory, address, check_output, fresh, numbers, strided


@case("ps_experts")
def experts(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """All experts, some or one taking the rows; the two products in formats of their own."""
    kind, act, rows = int(rng.integers(2)), int(rng.integers(1, 4)), int(rng.choice([0, 1, 2, 7, 60]))
    count, hidden = int(rng.integers(1, 6)), width(rng, 100)
    gated = draw_form(rng, gated=1, inputs=hidden, outputs=width(rng, 100))
    down = draw_form(rng, gated=0, inputs=gated.outputs // 2, outputs=hidden)
    top_k, ldx = int(rng.integers(1, count + 1)), hidden + int(rng.integers(0, 5))
    tables, kept = zip(*(_table(lib, rng, memory, form, count) for form in (gated, down)), strict=True)
    x = memory.place(strided(numbers(rng, kind, rows, hidden), kind, ldx))
    weights = memory.place(numbers(rng, F32, rows, top_k))
    used = int(rng.integers(1, count + 1))
    ids = memory.place(rng.integers(0, used, (rows, top_k)))
    out = memory.place(fresh(kind, rows, hidden, hidden), writes=True)
    call = (*tables, count, address(x), kind, rows, ldx, address(weights))
    assert lib.ps_experts(*call, address(ids), top_k, address(out), act) == 0
    check_output(out, kind, rows, hidden, hidden)
    if rows:
        wrong = ids.copy()
        wrong[-1] = rng.choice([-1, count, 2**40])
        assert lib.ps_experts(*call, address(memory.place(wrong)), top_k, address(out), act) == -2
    del kept


def _table(
    lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory, form: Form, count: int
) -> tuple[int | None, list[ctypes.Structure]]:
    """Return where the pointers to matrices of one form lie, and the matrices, which must be kept."""
    weights: list[ctypes.Structure] = [make_weight(lib, rng, memory, form) for _ in range(count)]
    return address(memory.place(np.array([ctypes.addressof(one) for one in weights], np.uint64))), weights
