"""Attention over pages, and its plan.

Legend: S sequences, N rows, B blocks, G KV heads, P page, D head dim.
"""

from __future__ import annotations

import ctypes

import numpy as np

from penstock.kernels.native.library import AttendUnit, AttentionStruct
from tests.kernels_native.bounds.cases import case, width
from tests.kernels_native.bounds.memory import (
    F32,
    INT8,
    Memory,
    address,
    check_output,
    fresh,
    numbers,
    strided,
)

_NOWHERE = 2**30
"""In a table, beyond a sequence's own blocks: whoever follows it falls off the planes."""
_UNIT = ctypes.sizeof(AttendUnit) // 8


@case("ps_attend_plan", "ps_attend")
def attend(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Mixed steps; what lies in the pages beyond a sequence's keys is NaN."""
    kind, codes = int(rng.integers(2)), rng.random() < 0.3
    kv_heads, group, dim = int(rng.integers(1, 4)), int(rng.choice([1, 2, 3, 5, 9])), width(rng, 100)
    page, window = int(rng.choice([1, 3, 8, 16, 40, 70])), int(rng.choice([0, 0, 1, 20, 300]))
    heads, count = kv_heads * group, int(rng.integers(1, 5))
    q_lens = rng.choice([1, 1, 2, 7, 40], count)
    lengths = q_lens + rng.choice([0, 1, 5, 63, 150, 1300], count)
    positions = np.concatenate([np.arange(n - q, n) for q, n in zip(q_lens, lengths, strict=True)])
    rows, ldq = len(positions), heads * dim + int(rng.integers(0, 5))
    steps = [memory.place(values.astype(np.int64)) for values in (q_lens, lengths, positions)]
    table, columns = _table(rng, lengths, page)
    planes, scales = _planes(
        rng, memory, INT8 if codes else kind, table, columns, lengths, (kv_heads, page, dim)
    )
    units, counts = _plan(lib, rng, memory, steps, (heads, kv_heads, page, window))
    q = memory.place(strided(numbers(rng, kind, rows, heads * dim), kind, ldq))
    out = memory.place(fresh(kind, rows, heads * dim, heads * dim), writes=True)
    lse = memory.place(fresh(F32, rows, heads, heads), writes=True)
    call = AttentionStruct(
        q=address(q),
        out=address(out),
        lse=address(lse),
        k=address(planes[0]),
        v=address(planes[1]),
        k_scale=address(scales[0]),
        v_scale=address(scales[1]),
        table=address(memory.place(table)),
        positions=address(steps[2]),
        lengths=address(steps[1]),
        ldq=ldq,
        ld_table=columns,
        heads=heads,
        kv_heads=kv_heads,
        dim=dim,
        page=page,
        window=window,
        scale=dim**-0.5,
        softcap=float(rng.choice([0.0, 20.0])),
        type=kind,
        kv_type=INT8 if codes else kind,
    )
    assert lib.ps_attend(ctypes.byref(call), address(units), address(counts)) == 0
    check_output(out, kind, rows, heads * dim, heads * dim)
    check_output(lse, F32, rows, heads, heads)


def _table(rng: np.random.Generator, lengths: np.ndarray, page: int) -> tuple[np.ndarray, int]:
    """Return the blocks of each sequence, ending with the last block of the last, and the columns."""
    needed = -(-lengths // page)
    table_SB = np.full((len(lengths), needed.max() + int(rng.integers(0, 3))), _NOWHERE, np.int32)
    blocks = rng.permutation(needed.sum())
    for row, first, count in zip(table_SB, np.cumsum(needed) - needed, needed, strict=True):
        row[:count] = blocks[first : first + count]
    columns = table_SB.shape[1]
    return table_SB.reshape(-1)[: (len(lengths) - 1) * columns + needed[-1]], columns


def _planes(
    rng: np.random.Generator,
    memory: Memory,
    kind: int,
    table: np.ndarray,
    columns: int,
    lengths: np.ndarray,
    shape: tuple[int, int, int],
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return keys and values, and their scales if they are int8, with NaN where no sequence has a key."""
    kv_heads, page, dim = shape
    used_BP = np.zeros(((-(-lengths // page)).sum(), page), bool)
    for sequence, length in enumerate(lengths):
        token = np.arange(length)
        used_BP[table[sequence * columns + token // page], token % page] = True
    used_BGP = np.repeat(used_BP[:, None], kv_heads, axis=1)
    planes, scales = [], []
    for _ in range(2):
        if kind == INT8:
            planes.append(memory.place(rng.integers(-127, 128, (*used_BGP.shape, dim)).astype(np.int8)))
            scales.append(memory.place(np.where(used_BGP, 0.01, np.nan).astype(np.float32)))
            continue
        plane = numbers(rng, kind, *used_BGP.shape, dim)
        plane[~used_BGP] = 0x7FC00000 if kind == F32 else 0x7FC0
        planes.append(memory.place(plane))
        scales.append(None)
    return planes, scales


def _plan(
    lib: ctypes.CDLL,
    rng: np.random.Generator,
    memory: Memory,
    steps: list[np.ndarray],
    sizes: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Return units and counts, after capacities that did not do."""
    capacity = int(rng.integers(0, 8))
    for _ in range(4):
        units = memory.place(np.zeros(capacity * _UNIT, np.int64), writes=True)
        counts = memory.place(np.full(3, -1), writes=True)
        status = lib.ps_attend_plan(
            *map(address, steps), len(steps[0]), *sizes, address(units), capacity, address(counts)
        )
        if status == 0:
            used = units[: int(counts[0] + counts[1]) * _UNIT]
            return memory.place(used), memory.place(counts)
        capacity = int(counts[0] + counts[1])
    raise AssertionError("no capacity that the plan asked for was enough")
