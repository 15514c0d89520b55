"""The engine's own counters as metrics: built from its snapshot when somebody scrapes, never before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_GAUGES = (
    ("num_requests_running", "Sequences that hold memory and are stepped", "running"),
    ("num_requests_waiting", "Sequences that wait for admission", "waiting"),
    ("kv_blocks", "KV blocks of the device", "blocks_total"),
    ("kv_blocks_free", "KV blocks in no use", "blocks_free"),
    ("kv_blocks_reclaimable", "KV blocks that hold cached prefixes nobody uses", "blocks_reclaimable"),
    ("kv_blocks_pinned", "KV blocks kept for programs and groups that are expected back", "blocks_pinned"),
    ("last_step_tokens", "Tokens of the newest step", "last_step_tokens"),
)

_COUNTERS = (
    ("prefix_cache_queries", "Prompt tokens looked up in the prefix cache", "prefix_query_tokens"),
    ("prefix_cache_hits", "Prompt tokens found in the prefix cache", "prefix_hit_tokens"),
    ("prompt_tokens_computed", "Prompt tokens computed, recomputation included", "prompt_tokens"),
    ("generation_tokens", "Tokens generated", "generated_tokens"),
    ("num_preemptions", "Sequences that lost their memory to others", "preemptions"),
    ("recomputed_tokens", "Tokens computed again after preemption", "recomputed_tokens"),
    ("kv_pins", "Times that KV was pinned at the end of a sequence", "pins_made"),
    ("kv_pins_returned", "Pins that the next turn of their program found in place", "pins_returned"),
    ("kv_pins_given_up", "Pins ended early because memory was short", "pins_given_up"),
    ("steps", "Steps run", "steps"),
    ("requests_submitted", "Sequences submitted to the engine", "submitted"),
)


class EngineFigures(Protocol):
    """What is read of an engine snapshot (`core.output.EngineStats` has it all)."""

    @property
    def running(self) -> int: ...  # noqa: D102
    @property
    def waiting(self) -> int: ...  # noqa: D102
    @property
    def blocks_total(self) -> int: ...  # noqa: D102
    @property
    def blocks_free(self) -> int: ...  # noqa: D102
    @property
    def blocks_reclaimable(self) -> int: ...  # noqa: D102
    @property
    def step_tokens(self) -> int: ...  # noqa: D102
    @property
    def step_sizes(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def finished(self) -> dict[str, int]: ...  # noqa: D102
    @property
    def waiting_by_reason(self) -> dict[str, int]: ...  # noqa: D102


class EngineStatsCollector(Collector):
    """Turns the newest engine snapshot into metrics.

    Args:
        prefix: what metric names begin with.
        model: value of the label ``model_name``.
    """

    def __init__(self, prefix: str, model: str) -> None:
        self._prefix = prefix
        self._label = (model,)
        self.stats: EngineFigures | None = None
        """Set by the scrape handler just before collecting."""

    def collect(self) -> Iterator[Metric]:
        """Yield one metric per figure of the snapshot; nothing while there is none."""
        stats = self.stats
        if stats is None:
            return
        for name, text, field in _GAUGES:
            yield self._gauge(name, text, getattr(stats, field))
        for name, text, field in _COUNTERS:
            counter = CounterMetricFamily(self._prefix + name, text, labels=["model_name"])
            counter.add_metric(self._label, getattr(stats, field))
            yield counter
        used = stats.blocks_total - stats.blocks_free - stats.blocks_reclaimable
        share = used / stats.blocks_total if stats.blocks_total else 0.0
        yield self._gauge("kv_cache_usage_perc", "Share of KV blocks in use by sequences, 0 to 1", share)
        yield self._step_sizes(stats)
        yield self._by(
            "num_admissions_blocked", "Blocked admission attempts", stats.waiting_by_reason, "reason"
        )
        yield self._by("engine_finished", "Terminal events of the engine", stats.finished, "finished_reason")

    def _step_sizes(self, stats: EngineFigures) -> Metric:
        buckets, count = [], 0
        for i, steps in enumerate(stats.step_sizes):
            count += steps
            last = i == len(stats.step_sizes) - 1
            buckets.append(("+Inf" if last else str(float(2**i)), float(count)))
        sizes = HistogramMetricFamily(
            self._prefix + "iteration_tokens_total", "Rows of each step", labels=["model_name"]
        )
        if buckets:
            sizes.add_metric(self._label, buckets, stats.step_tokens)
        return sizes

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        gauge = GaugeMetricFamily(self._prefix + name, text, labels=["model_name"])
        gauge.add_metric(self._label, value)
        return gauge

    def _by(self, name: str, text: str, values: dict[str, int], label: str) -> Metric:
        counter = CounterMetricFamily(self._prefix + name, text, labels=["model_name", label])
        for key, value in values.items():
            counter.add_metric((*self._label, key), value)
        return counter
