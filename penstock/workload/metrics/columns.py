"""What is kept of finished requests: one compact array per figure, about 90 bytes a request."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

_DOUBLES = ("arrival", "scheduled", "first", "visible", "last", "worst", "lost", "end")
_INTS = ("prompt", "output", "cached", "tenant", "preemptions")
_BYTES = ("ok", "own")


class Columns:
    """Numbers of finished requests, as numpy columns by name.

    Seconds: arrival; scheduled (first computed, -1 unknown); first, visible and last token (-1: none);
    worst, the longest wait for a token, the first included; lost to preemption; end. Tokens: prompt,
    output, cached. tenant: index into the collector's names. preemptions. ok: 0 or 1. own: objectives of
    its own met (1), missed (0), none (-1).
    """

    def __init__(self) -> None:
        self._columns: dict[str, array[float] | array[int]] = {}
        for names, kind in ((_DOUBLES, "d"), (_INTS, "i"), (_BYTES, "b")):
            self._columns |= {name: array(kind) for name in names}
        self._appends = [column.append for column in self._columns.values()]

    def __len__(self) -> int:
        return len(self._columns["arrival"])

    def append(self, row: Sequence[float | int]) -> None:
        """Add one request, its values in the order of the class's text."""
        for append, value in zip(self._appends, row, strict=True):
            append(value)  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a copy of a column."""
        column = self._columns[name]
        kinds = {"d": np.float64, "i": np.int32, "b": np.int8}
        return np.array(column, dtype=kinds[column.typecode])
