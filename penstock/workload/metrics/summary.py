"""The figures of a set of requests, by stable names. Times in the keys are milliseconds, elsewhere seconds.

Counts: ``completed``, ``failed``, ``unfinished``, ``preemptions``, ``total_input_tokens``,
``total_output_tokens``, ``total_cached_tokens``. Rates per second over ``duration`` (first arrival to last
end): ``request_throughput``, ``input_throughput``, ``output_throughput``, ``total_token_throughput``.

Distributions (``mean_X_ms``, ``median_X_ms``, ``std_X_ms``, ``p99_X_ms``...), of completed requests:

- ``ttft``: first token minus arrival at the front door.
- ``scheduling_delay``: first time any of its tokens was computed minus arrival.
- ``ttfvt``: first token that the user is shown minus arrival; requests that only thought are left out.
- ``tpot``: (last - first token) / (n - 1); undefined for n = 1 and left out.
- ``itl``: gaps between deliveries, pooled over requests; tokens delivered together are one delivery.
- ``e2el``: last token minus arrival.
- ``normalized_latency``: e2el per output token.
- ``max_wait``: the longest wait for any token, the first included (vllm-ltr's fairness is its mean).
- ``preemption_loss``: of preempted requests, seconds between losing their place and their next token.

With objectives: ``slo_attainment`` (joint; who failed or did not finish violated it), ``slo_attainment_X``
(each alone), ``request_goodput`` (requests per second that met all). ``own_slo_attainment`` counts requests
that brought objectives of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from penstock.workload.metrics.columns import Columns
from penstock.workload.metrics.percentiles import summarise
from penstock.workload.metrics.slo import attained


class Gaps(Protocol):
    """Pooled gaps between deliveries."""

    def summarise(self, name: str, percentiles: Sequence[float]) -> dict[str, float]:
        """Return mean, deviation and percentiles under the stable names."""
        ...


class RawGaps(NamedTuple):
    """Every gap, in seconds [n]."""

    seconds: np.ndarray

    def summarise(self, name: str, percentiles: Sequence[float]) -> dict[str, float]:
        """See `Gaps`."""
        return summarise(name, self.seconds, percentiles)


class Interval(NamedTuple):
    """Arrivals that count."""

    begin: float
    end: float

    def holds(self, arrivals: np.ndarray) -> np.ndarray:
        """Return which arrivals lie in it, bool [n]."""
        return (arrivals >= self.begin) & (arrivals <= self.end)


def latencies(columns: Columns, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Return seconds by metric of the chosen requests [n]; nan where undefined.

    Args:
        columns: finished requests.
        chosen: which of them, as a mask or indices; all must have a first token.
    """
    arrival, first, last = (columns[name][chosen] for name in ("arrival", "first", "last"))
    output = columns["output"][chosen]
    visible, scheduled = columns["visible"][chosen], columns["scheduled"][chosen]
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(output > 1, (last - first) / (output - 1), np.nan)
    return {
        "ttft": first - arrival,
        "scheduling_delay": np.where(scheduled >= 0, scheduled - arrival, np.nan),
        "ttfvt": np.where(visible >= 0, visible - arrival, np.nan),
        "tpot": tpot,
        "e2el": last - arrival,
        "normalized_latency": (last - arrival) / np.maximum(output, 1),
        "max_wait": columns["worst"][chosen],
    }


def report(
    columns: Columns,
    counted: np.ndarray,
    unfinished: int,
    slo: Mapping[str, float] | None,
    percentiles: Sequence[float],
) -> dict[str, float | int]:
    """Return counts, rates, attainment and distributions of requests.

    Args:
        columns: finished requests.
        counted: which of them count, bool [n].
        unfinished: requests that count and have not ended.
        slo: objectives in seconds by metric, or None.
        percentiles: which ones to report besides the median.
    """
    done = counted & (columns["ok"] == 1)
    total = int(counted.sum()) + unfinished
    begins, ends = columns["arrival"][counted], columns["end"][counted]
    duration = float(ends.max() - begins.min()) if len(ends) else 0.0
    figures = _counts(columns, counted, done, unfinished, duration)
    metrics = latencies(columns, done)
    if slo:
        met = int(attained(metrics, slo).sum())
        figures["request_goodput"] = met / duration if duration > 0 else 0.0
        figures["slo_attainment"] = met / total if total else 0.0
        for name, limit in slo.items():
            alone = int(attained(metrics, {name: limit}).sum())
            figures[f"slo_attainment_{name}"] = alone / total if total else 0.0
    own = columns["own"][counted]
    if (own >= 0).any():
        figures["own_slo_attainment"] = float((own == 1).sum() / (own >= 0).sum())
    for name, seconds in metrics.items():
        figures |= summarise(name, seconds[~np.isnan(seconds)], percentiles)
    lost = columns["lost"][done]
    return figures | summarise("preemption_loss", lost[lost > 0], percentiles)


def _counts(
    columns: Columns, counted: np.ndarray, done: np.ndarray, unfinished: int, duration: float
) -> dict[str, float | int]:
    per_second = 1 / duration if duration > 0 else 0.0
    prompt, output, cached = (int(columns[name][done].sum()) for name in ("prompt", "output", "cached"))
    completed = int(done.sum())
    return {
        "duration": duration,
        "completed": completed,
        "failed": int(counted.sum()) - completed,
        "unfinished": unfinished,
        "preemptions": int(columns["preemptions"][counted].sum()),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "total_cached_tokens": cached,
        "request_throughput": completed * per_second,
        "input_throughput": prompt * per_second,
        "output_throughput": output * per_second,
        "total_token_throughput": (prompt + output) * per_second,
    }
