"""The list of cases, and those of row work and sampling."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

import numpy as np

from tests.kernels_native.bounds.memory import F32, Memory, address, check_output, fresh, numbers, strided

Case = Callable[[ctypes.CDLL, np.random.Generator, Memory], None]

CASES: dict[str, Case] = {}
"""By name."""
COVERED: set[str] = set()
"""C functions that some case calls."""


def case(*functions: str) -> Callable[[Case], Case]:
    """Register a case under its own name, for the C functions that it calls."""

    def register(run: Case) -> Case:
        CASES[run.__name__] = run
        COVERED.update(functions)
        return run

    return register


def width(rng: np.random.Generator, most: int = 150) -> int:
    """Draw a size: any, or one near the width of a vector or panel."""
    near = int(rng.choice([8, 16, 32, 48, 64, 128])) + int(rng.integers(-1, 2))
    return int(rng.integers(1, most + 1)) if rng.random() < 0.6 else min(near, most)


@case("ps_team_start", "ps_team_stop")
def team(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Threads pinned to given cores; the driver starts its own again."""
    cores, threads = os.sched_getaffinity(0), int(rng.integers(1, 4))
    pins = memory.place(np.full(threads, min(cores), np.int32))
    assert lib.ps_team_start(threads, address(pins), 20) == threads
    lib.ps_team_stop()
    os.sched_setaffinity(0, cores)


@case("ps_rms_norm")
def rms_norm(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """With and without a sum, rows apart."""
    kind, rows, k = int(rng.integers(2)), int(rng.integers(0, 9)), width(rng)
    stride = k + int(rng.integers(0, 5))
    x = memory.place(strided(numbers(rng, kind, rows, k), kind, stride))
    weight = memory.place(numbers(rng, kind, k))
    add = total = None
    if rng.random() < 0.5:
        add = memory.place(numbers(rng, kind, rows, k))
        total = memory.place(fresh(kind, rows, k, k), writes=True)
    out = memory.place(fresh(kind, rows, k, k), writes=True)
    pointers = (address(x), address(add), address(total), address(weight))
    assert lib.ps_rms_norm(*pointers, 1e-5, 0.0, kind, rows, k, stride, address(out)) == 0
    for result in (out, total):
        if result is not None:
            check_output(result, kind, rows, k, k)


@case("ps_rotate")
def rotate(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """In place, of all dims or the first."""
    kind, rows, heads, dim = (
        int(rng.integers(2)),
        int(rng.integers(0, 9)),
        int(rng.integers(1, 5)),
        width(rng),
    )
    pairs, span = int(rng.integers(0, dim // 2 + 1)), heads * dim
    stride = span + int(rng.integers(0, 5))
    before = strided(numbers(rng, kind, rows, span), kind, stride)
    x = memory.place(before, writes=True)
    angles = [memory.place(numbers(rng, F32, rows, pairs)) for _ in range(2)]
    assert lib.ps_rotate(address(x), kind, rows, heads, dim, stride, *map(address, angles), pairs) == 0
    kept = np.arange(len(before)) % stride
    kept = (kept >= span) | (kept % dim >= 2 * pairs)
    assert (x[kept] == before[kept]).all(), "changed what does not rotate"


@case("ps_gate")
def gate(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Every activation; gate and up in one matrix or two."""
    kind, act, rows, k = int(rng.integers(2)), int(rng.integers(4)), int(rng.integers(0, 9)), width(rng)
    strides = [k + int(rng.integers(0, 5)) for _ in range(2)]
    gate, up = (memory.place(strided(numbers(rng, kind, rows, k), kind, stride)) for stride in strides)
    out = memory.place(fresh(kind, rows, k, k), writes=True)
    assert lib.ps_gate(address(gate), address(up), act, kind, rows, k, *strides, address(out)) == 0
    check_output(out, kind, rows, k, k)


@case("ps_gumbel_argmax")
def gumbel_argmax(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Some tokens forbidden; vocabularies around the strips."""
    rows, vocab = int(rng.integers(0, 9)), int(rng.choice([width(rng), 511, 512, 513, 1100]))
    logits = numbers(rng, F32, rows, vocab).view(np.float32)
    logits[rng.random((rows, vocab)) < rng.random()] = -np.inf
    logits = memory.place(logits)
    temperatures = memory.place(rng.random(rows) + 0.1)
    keys = memory.place(rng.integers(0, 2**63, rows, np.uint64))
    tokens = memory.place(np.full(rows, -1), writes=True)
    pointers = map(address, (temperatures, keys, tokens))
    assert lib.ps_gumbel_argmax(address(logits), rows, vocab, *pointers) == 0
    assert ((tokens >= 0) & (tokens < vocab)).all()


@case("ps_restrain")
def restrain(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Some rows of a strided matrix, by exactly as many words as the vocabulary needs."""
    rows, vocab = int(rng.integers(1, 9)), width(rng)
    stride, words = vocab + int(rng.integers(0, 5)), -(-vocab // 32)
    before = strided(numbers(rng, F32, rows, vocab), F32, stride)
    logits = memory.place(before, writes=True)
    chosen = rng.permutation(rows)[: int(rng.integers(0, rows + 1))]
    masks = rng.integers(0, 2**32, (len(chosen), words), np.uint32)
    masks[rng.random(masks.shape) < 0.3] = 2**32 - 1
    guarded = [memory.place(chosen.astype(np.int64)), memory.place(masks)]
    arguments = (address(guarded[0]), len(chosen), address(guarded[1]), words)
    assert lib.ps_restrain(address(logits), vocab, stride, *arguments) == 0
    want = before.copy()
    for row, mask in zip(chosen, masks, strict=True):
        allowed = np.unpackbits(mask.view(np.uint8), count=vocab, bitorder="little").astype(bool)
        want[row * stride : row * stride + vocab][~allowed] = np.float32(-np.inf).view(np.uint32)
    assert (logits == want).all()
