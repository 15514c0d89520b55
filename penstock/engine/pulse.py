"""The pulse: a few bytes that an engine writes at every turn of its loop and its supervisor reads.

Shared memory and not messages, because what must be noticed is an engine that can send none: it may hang
inside a native call and hold the interpreter's lock. Writing costs well under a microsecond.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import tempfile
from dataclasses import dataclass

_WORDS = struct.Struct("=4q")


@dataclass(frozen=True, slots=True)
class Beat:
    """What the engine wrote last."""

    turns: int
    """Counts turns of the loop and steps begun; stands still while the engine is stuck (or idle)."""
    step: int
    """Ticket of the step under way; -1 between steps."""
    sequences: int
    tokens: int
    """Rows of the step."""

    def where(self) -> str:
        """Say what it was doing, to follow "no progress": ``in step 7 (3 sequences, 512 tokens)``."""
        if self.step < 0:
            return "between steps"
        return f"in step {self.step} ({self.sequences} sequences, {self.tokens} tokens)"


class Pulse:
    """One engine's pulse.

    Args:
        buffer: at least `SIZE` writable bytes, zeroed; shared with the reader.
    """

    SIZE = _WORDS.size

    def __init__(self, buffer: bytearray | mmap.mmap | None = None) -> None:
        self._buffer = bytearray(self.SIZE) if buffer is None else buffer
        self._turns = 0
        self._put(-1, 0, 0)

    def beat(self) -> None:
        """Note a turn of the loop; no step is under way."""
        self._put(-1, 0, 0)

    def begin(self, step: int, sequences: int, tokens: int) -> None:
        """Note that a step begins."""
        self._put(step, sequences, tokens)

    def _put(self, *words: int) -> None:
        self._turns += 1
        _WORDS.pack_into(self._buffer, 0, self._turns, *words)

    def read(self) -> Beat:
        """Return what was written last, by whichever side shares the buffer."""
        return Beat(*_WORDS.unpack_from(self._buffer, 0))


def make_shared() -> tuple[int, Pulse]:
    """Return a descriptor to be inherited by the engine's process, and the reader's view of its memory."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("penstock-pulse")
    else:
        handle, path = tempfile.mkstemp(prefix="penstock-pulse-")
        with contextlib.suppress(OSError):
            os.unlink(path)
        fd = handle
    os.write(fd, bytes(Pulse.SIZE))  # allocates now: a disk that is full later must not be a bus error
    return fd, attach(fd)


def attach(fd: int) -> Pulse:
    """Return the pulse in the memory behind a descriptor."""
    return Pulse(mmap.mmap(fd, Pulse.SIZE))
