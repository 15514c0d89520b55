"""Service of tenants, and how evenly it was dealt out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def jain(rates: Sequence[float]) -> float:
    """Return Jain's index, (sum x)^2 / (n sum x^2): 1 when all are alike, 1/n when one has everything."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 1.0


def spread(buckets: dict[int, float], begin: float, end: float, units: float, width: float) -> None:
    """Add ``units`` evenly over [begin, end] to buckets of ``width`` seconds, as VTC's artifact does."""
    first, last = int(begin // width), int(end // width)
    if first == last:
        buckets[first] = buckets.get(first, 0.0) + units
        return
    per_second = units / (end - begin)
    buckets[first] = buckets.get(first, 0.0) + per_second * ((first + 1) * width - begin)
    for bucket in range(first + 1, last):
        buckets[bucket] = buckets.get(bucket, 0.0) + per_second * width
    buckets[last] = buckets.get(last, 0.0) + per_second * (end - last * width)


def service_difference(
    service: Mapping[int, Mapping[int, float]], buckets: int, tenants: Iterable[int] | None = None
) -> list[float]:
    """Return, per window of ``buckets`` buckets, the most minus the least service among tenants (VTC).

    Windows slide by one bucket over the time in which anybody was served. The theorems speak only of
    windows in which all compared tenants had work waiting: name those tenants, and compare over such times.
    """
    chosen = [service[tenant] for tenant in (service if tenants is None else tenants)]
    used = [bucket for one in chosen for bucket in one]
    if len(chosen) < 2 or not used:
        return []
    begin, end = min(used), max(used) + 1
    table = np.zeros((len(chosen), end - begin))
    for row, one in zip(table, chosen, strict=True):
        for bucket, units in one.items():
            row[bucket - begin] = units
    sums = np.concatenate([np.zeros((len(chosen), 1)), np.cumsum(table, axis=1)], axis=1)
    width = min(buckets, end - begin)
    windows = sums[:, width:] - sums[:, :-width]
    return (windows.max(axis=0) - windows.min(axis=0)).tolist()  # type: ignore[no-any-return]
