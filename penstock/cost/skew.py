"""What unequal decode contexts cost: a share of the way from all-at-the-mean to all-at-the-longest.

A batch whose decodes have unequal contexts takes longer than one with the same contexts in sum, since the
longest keep some of the device waiting. Profiles measure it as ``alpha = (t - t_mean) / (t_max - t_mean)`` on
batches of two context lengths (LLMServingSim's ``skew.csv``). Here alpha is pooled, by least squares relative
to ``t_mean``, over batches alike in chunk, number of decodes, mean over longest context, and longest context.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log2

Key = tuple[int, int, int, int]
SHARES = 8
"""Bins of mean over longest context."""


def _key(chunk: float, decodes: float, mean: float, longest: float) -> Key:
    return (
        int(log2(chunk)) if chunk >= 1 else -1,
        int(log2(decodes)),
        min(SHARES - 1, int(SHARES * mean / longest)),
        int(log2(longest) / 2),
    )


class Skew:
    """Alpha by kind of batch.

    Args:
        rows: (chunk, decodes, mean context, longest context, t_mean, t_max, t) of measured batches.
    """

    def __init__(self, rows: Iterable[tuple[float, float, float, float, float, float, float]]) -> None:
        sums: dict[Key | int, list[float]] = {}
        for chunk, decodes, mean, longest, at_mean, at_longest, seen in rows:
            gap = (at_longest - at_mean) / at_mean
            if gap <= 0:
                continue
            key = _key(chunk, decodes, mean, longest)
            # The pool is for kinds that were not measured: decodes alone, and decodes beside a prefill.
            for cell in (key, min(key[0], 0)):
                total = sums.setdefault(cell, [0.0, 0.0])
                total[0] += gap * (seen - at_mean) / at_mean
                total[1] += gap * gap
        self._alpha = {cell: max(0.0, up / down) for cell, (up, down) in sums.items()}

    def alpha(self, chunk: float, decodes: float, mean: float, longest: float) -> float:
        """Return the share of the way to take; 0 where there is nothing to correct."""
        if decodes < 2 or longest <= mean:
            return 0.0
        key = _key(chunk, decodes, mean, longest)
        known = self._alpha.get(key)
        return known if known is not None else self._alpha.get(min(key[0], 0), 0.0)
