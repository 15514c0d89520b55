"""The same figures under other people's names, so that their dashboards keep working."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

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
        "generation_tokens",
        "num_preemptions",
        "iteration_tokens_total",
        "request_success",
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
    """

    def __init__(self, source: CollectorRegistry, prefix: str, alias: str) -> None:
        self._source = source
        self._prefix = prefix
        self._alias = alias

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
                twin.samples = [
                    sample._replace(name=self._rename(sample.name), labels={**sample.labels, "engine": "0"})
                    for sample in samples
                ]
                twins.append(twin)
        yield from twins

    def _rename(self, name: str) -> str:
        return self._alias + name.removeprefix(self._prefix)
