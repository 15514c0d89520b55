"""Heads between product and attention, and the writing of keys and values.

Legend: B blocks, G KV heads, P page.
"""

from __future__ import annotations

import ctypes

import numpy as np

from penstock.kernels.native.library import HeadPrepStruct
from tests.kernels_native.bounds.cases import case, width
from tests.kernels_native.bounds.memory import F32, Memory, address, numbers, strided

_BLOCKS = 50


class _Pages:
    """Planes of keys and values, raw or int8, and slots for some rows."""

    def __init__(
        self, rng: np.random.Generator, memory: Memory, kind: int, rows: int, kv_heads: int, dim: int
    ) -> None:
        self.page, codes = int(rng.choice([1, 3, 16])), rng.random() < 0.5
        self._shape = (_BLOCKS, kv_heads, self.page, dim)
        random = rng.integers(-127, 128, self._shape).astype(np.int8) if codes else None
        self._before = numbers(rng, kind, *self._shape) if random is None else random
        self.planes = [memory.place(self._before, writes=True) for _ in range(2)]
        scales = np.zeros(self._shape[:3], np.float32)
        self.scales = [memory.place(scales, writes=True) if codes else None for _ in range(2)]
        self._slots = rng.permutation(_BLOCKS * self.page)[:rows]
        self.slots = memory.place(self._slots.astype(np.int64))

    def check(self) -> None:
        """Assert that slots which are not named keep what they had."""
        kept_BP = np.ones((_BLOCKS, self.page), bool)
        kept_BP[self._slots // self.page, self._slots % self.page] = False
        for plane in self.planes:
            same_BGP = (plane.reshape(self._shape) == self._before).all(-1)
            assert same_BGP.transpose(0, 2, 1)[kept_BP].all(), "wrote to a slot that was not named"


@case("ps_heads")
def heads(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Norms, rotation and pages, each or none of them; padding at the end."""
    kind, rows = int(rng.integers(2)), int(rng.integers(0, 20))
    counts, dim = (int(rng.integers(1, 6)), int(rng.integers(1, 4))), width(rng, 100)
    stored, pairs = int(rng.integers(0, rows + 1)), int(rng.integers(0, dim // 2 + 1))
    turned, span = (counts[0] + counts[1]) * dim, (counts[0] + 2 * counts[1]) * dim
    stride = span + int(rng.integers(0, 5))
    before = strided(numbers(rng, kind, rows, span), kind, stride)
    qkv, pages = memory.place(before, writes=True), _Pages(rng, memory, kind, stored, counts[1], dim)
    norms = [memory.place(numbers(rng, kind, dim)) if rng.random() < 0.6 else None for _ in range(2)]
    turn = (
        [memory.place(numbers(rng, F32, rows, pairs)) for _ in range(2)] if rng.random() < 0.7 else [None] * 2
    )
    call = HeadPrepStruct(
        *map(address, (qkv, *norms, *turn, pages.slots, *pages.planes, *pages.scales)),
        *(rows, stored, stride, *counts, dim, pairs, pages.page),
        eps=1e-5,
        type=kind,
    )
    assert lib.ps_heads(ctypes.byref(call)) == 0
    place = np.arange(len(before)) % stride
    assert (qkv[place >= turned] == before[place >= turned]).all(), (
        "changed values, or wrote between the rows"
    )
    bits = qkv[place < span].astype(np.uint32) << (0 if kind == F32 else 16)
    assert np.isfinite(bits.view(np.float32)).all(), "not finite: used numbers from between the rows"
    pages.check()


@case("ps_kv_write")
def kv_write(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Raw and as int8."""
    kind, rows = int(rng.integers(2)), int(rng.integers(0, 40))
    kv_heads, dim = int(rng.integers(1, 4)), width(rng, 100)
    span, pages = kv_heads * dim, _Pages(rng, memory, kind, rows, kv_heads, dim)
    strides = [span + int(rng.integers(0, 5)) for _ in range(2)]
    k, v = (memory.place(strided(numbers(rng, kind, rows, span), kind, stride)) for stride in strides)
    sizes = (rows, kv_heads, dim, pages.page)
    where = map(address, (*pages.planes, *pages.scales))
    assert lib.ps_kv_write(address(k), address(v), *strides, kind, address(pages.slots), *sizes, *where) == 0
    pages.check()
