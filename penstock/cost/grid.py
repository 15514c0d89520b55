"""Interpolation in measured tables: a line over one count, and the four axes of an attention table."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import sqrt


def line(points: Iterable[tuple[int, float]], last: int) -> list[float]:
    """Return the piecewise linear function through ``points``, tabled at 0..last; constant below the first.

    Beyond the last point it goes on with the slope between the last point and the one at half its place or
    below, so that the noise of two neighbours is not magnified.

    Raises:
        ValueError: no point.
    """
    known = sorted(points)
    if not known:
        raise ValueError("a table needs at least one point")
    xs, ys = [x for x, _ in known], [y for _, y in known]
    far = max(bisect_right(xs, xs[-1] // 2) - 1, 0)
    slope = max(0.0, (ys[-1] - ys[far]) / (xs[-1] - xs[far])) if xs[-1] > xs[far] else 0.0
    table = []
    i = 0
    for x in range(last + 1):
        while i + 1 < len(xs) and xs[i + 1] <= x:
            i += 1
        if x <= xs[0]:
            table.append(ys[0])
        elif i + 1 == len(xs):
            table.append(ys[-1] + slope * (x - xs[-1]))
        else:
            share = (x - xs[i]) / (xs[i + 1] - xs[i])
            table.append(ys[i] + share * (ys[i + 1] - ys[i]))
    return table


def bracket(axis: Sequence[float], x: float) -> tuple[int, float]:
    """Return index i and weight w so that ``x`` lies at ``(1 - w) * axis[i] + w * axis[i + 1]``.

    Below the axis w is 0; above it w exceeds 1 (the last two points are extended).
    """
    if x <= axis[0] or len(axis) == 1:
        return 0, 0.0
    i = min(bisect_right(axis, x) - 1, len(axis) - 2)
    return i, (x - axis[i]) / (axis[i + 1] - axis[i])


class Plane:
    """Values over (row, column), linear along each row and between rows, extended beyond the ends.

    Args:
        values: (row, column) -> value; each row may have columns of its own.
    """

    def __init__(self, values: dict[tuple[int, int], float]) -> None:
        lines: dict[int, list[tuple[int, float]]] = {}
        for (row, column), value in values.items():
            lines.setdefault(row, []).append((column, value))
        self._rows = sorted(lines)
        points = [sorted(lines[row]) for row in self._rows]
        self._columns = [[column for column, _ in line] for line in points]
        self._values = [[value for _, value in line] for line in points]

    def at(self, row: float, column: float) -> float:
        """Return the value there."""
        i, share = bracket(self._rows, row)
        value = self._along(i, column)
        if share:
            value += share * (self._along(i + 1, column) - value)
        return value

    def _along(self, i: int, column: float) -> float:
        values = self._values[i]
        j, share = bracket(self._columns[i], column)
        return values[j] + share * (values[j + 1] - values[j]) if share else values[j]


class AttentionGrid:
    """Attention time over (chunk, context of the chunk, decodes, context of each decode).

    Between two chunk sizes it is linear in the query-key pairs of the chunk, which the kernel computes;
    on the other axes linear, since traffic is proportional to contexts and to decodes.

    Args:
        rows: (chunk, context, decodes, context of each) -> seconds; 0 where a step has no prefill or decode.

    Raises:
        ValueError: neither a pure decode nor a pure prefill row.
    """

    def __init__(self, rows: dict[tuple[int, int, int, int], float]) -> None:
        planes: dict[tuple[int, int], dict[tuple[int, int], float]] = {}
        for (chunk, context, decodes, kv), seconds in rows.items():
            planes.setdefault((chunk, decodes), {})[context, kv] = seconds
        self._chunks = sorted({chunk for chunk, _ in planes if chunk})
        # Profilers leave out corners that exceed their limits: each chunk has a decode axis of its own.
        self._decodes = {
            c: sorted({d for chunk, d in planes if chunk == c and d}) for c in [0, *self._chunks]
        }
        self._planes = {key: Plane(values) for key, values in planes.items()}
        if not self._decodes[0] or not any((c, 0) in self._planes for c in self._chunks):
            raise ValueError("it has no row of decodes alone, or none of a prefill alone")

    def at(self, chunk: float, context: float, decodes: float, kv: float) -> float:
        """Return the seconds of one layer's attention."""
        if chunk <= 0:
            return self._slice(0, 0.0, decodes, kv) if decodes else 0.0
        axis = self._chunks
        if chunk <= axis[0] or len(axis) == 1:
            return self._slice(axis[0], context, decodes, kv)
        i = min(bisect_right(axis, chunk) - 1, len(axis) - 2)
        low, high = axis[i], axis[i + 1]
        at_low = self._slice(low, context, decodes, kv)
        pairs_low, pairs_high = low * (context + low / 2), high * (context + high / 2)
        share = (chunk * (context + chunk / 2) - pairs_low) / (pairs_high - pairs_low)
        return at_low + share * (self._slice(high, context, decodes, kv) - at_low)

    def _slice(self, chunk: int, context: float, decodes: float, kv: float) -> float:
        planes = self._planes
        if not decodes:
            return planes[chunk, 0].at(context, 0)
        axis = self._decodes[chunk]
        if decodes <= axis[0] or len(axis) == 1:
            return planes[chunk, axis[0]].at(context, kv)
        i = min(bisect_right(axis, decodes) - 1, len(axis) - 2)
        low, high = axis[i], axis[i + 1]
        at_low = planes[chunk, low].at(context, kv)
        return at_low + (decodes - low) / (high - low) * (planes[chunk, high].at(context, kv) - at_low)


def equivalent_chunk(tokens: int, pairs: float) -> tuple[float, float]:
    """Return (chunk, context) of one sequence whose prefill has as many query-key pairs.

    Several chunks in one step attend each to its own context; a table of single chunks is entered with the
    same number of rows, and with fewer where even without context one chunk of that length had more pairs.
    """
    context = pairs / tokens - (tokens + 1) / 2
    if context >= 0:
        return tokens, context
    return (sqrt(8.0 * pairs + 1.0) - 1.0) / 2.0, 0.0
