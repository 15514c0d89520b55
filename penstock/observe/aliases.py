"""The same figures under other people's names, so that their dashboards keep working."""

from __future__ import annotations

from collections.abc import Iterator, Set

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

ALIASED = frozenset(
    {
        "num_requests_running",
        "num_requests_waiting",
        "num_requests_waiting_by_reason",
        "kv_cache_usage_perc",
        "prefix_cache_queries",
        "prefix_cache_hits",
        "prompt_tokens",
        "prompt_tokens_cached",
        "prompt_tokens_by_source",
        "generation_tokens",
        "num_preemptions",
        "iteration_tokens_total",
        "request_success",
        "admission_rejections",
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "request_time_per_output_token_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_prefill_time_seconds",
        "request_decode_time_seconds",
        "request_inference_time_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
        "request_num_preemptions",
        "request_params_max_tokens",
        "request_params_n",
        "cache_config_info",
    }
)
"""Metrics whose meaning agrees with the namesake's; the others keep our name only."""


class Exposition:
    """What a scrape sees of a registry: its metrics, and some of them again under another prefix.

    Args:
        source: registry that holds the metrics.
        prefix: what their names begin with.
        alias: what takes its place in the repetition; empty for none.
        without: labels that the repetition sums over, since the namesakes do not have them.
    """

    def __init__(
        self, source: CollectorRegistry, prefix: str, alias: str, without: Set[str] = frozenset()
    ) -> None:
        self._source = source
        self._prefix = prefix
        self._alias = alias
        self._without = without

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, then the renamed ones with the label ``engine``, by which dashboards group.

        Creation times are left out: they add one series per histogram and nobody plots them.
        """
        twins = []
        for metric in self._source.collect():
            samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            metric.samples = samples
            yield metric
            if self._alias and metric.name.removeprefix(self._prefix) in ALIASED:
                twin = Metric(self._rename(metric.name), metric.documentation, metric.type)
                twin.samples = self._summed(samples)
                twins.append(twin)
        yield from twins

    def _summed(self, samples: list[Sample]) -> list[Sample]:
        """Rename, and add up what differs only in labels that are left out; first come, first listed."""
        sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for sample in samples:
            labels = tuple((key, text) for key, text in sample.labels.items() if key not in self._without)
            key = (self._rename(sample.name), labels)
            sums[key] = sums.get(key, 0.0) + sample.value
        return [
            Sample(name, {**dict(labels), "engine": "0"}, value) for (name, labels), value in sums.items()
        ]

    def _rename(self, name: str) -> str:
        return self._alias + name.removeprefix(self._prefix)
