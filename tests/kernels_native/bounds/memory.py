"""Numbers that end where a forbidden page begins, or begin where one ends.

What is only read is write-protected. Strided matrices have NaN in their gaps; outputs begin as a pattern that
no kernel writes, so that what was not written, and what was written into a gap, are both seen.
"""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_PAGE, _NOTHING = mmap.PAGESIZE, 0
_FAILED = ctypes.c_void_p(-1).value

F32, BF16, INT8 = 0, 1, 2
"""Numbers of ``ps_type``."""
_NAN = {F32: 0x7FC00000, BF16: 0x7FC0}
_FRESH = {F32: 0x7FDEADBE, BF16: 0x7FDE}
"""What outputs are before the call: a NaN that no arithmetic makes."""
_WORDS = {F32: np.uint32, BF16: np.uint16}


class Memory:
    """Hands out guarded arrays.

    Args:
        side: ``behind`` puts a forbidden page right behind the last byte, ``before`` right before the first.
    """

    def __init__(self, side: str) -> None:
        self.side = side
        self._mapped: list[tuple[int, int]] = []

    def place(self, values: np.ndarray, *, writes: bool = False) -> np.ndarray:
        """Return a guarded copy of ``values``, one-dimensional, which may be written if ``writes``."""
        values = np.ascontiguousarray(values).reshape(-1)
        inside = -(-values.nbytes // _PAGE) * _PAGE
        total = inside + 2 * _PAGE
        start = _LIBC.mmap(
            None, total, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANON, -1, 0
        )
        assert start != _FAILED, "out of memory"
        self._mapped.append((start, total))
        address = start + _PAGE + (inside - values.nbytes if self.side == "behind" else 0)
        raw = (ctypes.c_uint8 * values.nbytes).from_address(address)
        guarded = np.frombuffer(raw, values.dtype) if values.nbytes else _empty(raw, values.dtype)
        guarded[:] = values
        for guard in (start, start + _PAGE + inside):
            assert _LIBC.mprotect(guard, _PAGE, _NOTHING) == 0
        if inside and not writes:
            assert _LIBC.mprotect(start + _PAGE, inside, mmap.PROT_READ) == 0
        return guarded

    def clear(self) -> None:
        """Give everything back; what was handed out must not be touched again."""
        for start, size in self._mapped:
            _LIBC.munmap(start, size)
        self._mapped.clear()


def _empty(raw: ctypes.Array[ctypes.c_uint8], dtype: np.dtype) -> np.ndarray:
    """Return an array of nothing whose address is nevertheless a guard's."""
    return np.ndarray((0,), dtype, buffer=raw)


def numbers(rng: np.random.Generator, kind: int, *shape: int) -> np.ndarray:
    """Return normal numbers as the bits of ``kind``, float32 or bfloat16."""
    bits = rng.standard_normal(shape, np.float32).view(np.uint32)
    return bits if kind == F32 else (bits >> 16).astype(np.uint16)


def strided(rows: np.ndarray, kind: int, stride: int) -> np.ndarray:
    """Return a matrix with rows ``stride`` apart and NaN between, ending with its last number."""
    count, width = rows.shape
    flat = np.full(max(count, 1) * stride, _NAN[kind], _WORDS[kind])
    flat.reshape(-1, stride)[:count, :width] = rows
    return flat[: (count - 1) * stride + width] if count else flat[:0]


def fresh(kind: int, count: int, width: int, stride: int) -> np.ndarray:
    """Return an output that nothing was written to yet."""
    return np.full((count - 1) * stride + width if count else 0, _FRESH[kind], _WORDS[kind])


def check_output(found: np.ndarray, kind: int, count: int, width: int, stride: int) -> None:
    """Assert that every number was written and is finite, and that no gap was."""
    flat = np.full(count * stride, _FRESH[kind], _WORDS[kind])
    flat[: len(found)] = found
    rows = flat.reshape(-1, stride)
    assert (rows[:, width:] == _FRESH[kind]).all(), "wrote between the rows"
    assert (rows[:, :width] != _FRESH[kind]).all(), "left numbers unwritten"
    values = rows[:, :width].astype(np.uint32) << (0 if kind == F32 else 16)
    assert np.isfinite(values.view(np.float32)).all(), "not finite: used numbers from between the rows"


def address(array: np.ndarray | None) -> int | None:
    """Return where the array lies, as ctypes takes it."""
    return None if array is None else array.ctypes.data
