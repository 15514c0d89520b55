"""The metrics of one server, in a registry of their own (several servers may live in one process)."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from penstock.observe import buckets
from penstock.observe.aliases import Exposition
from penstock.observe.engine_stats import EngineFigures, EngineStatsCollector
from penstock.observe.window import Recent

PREFIX = "penstock:"


class Metrics:
    """Everything that is counted about requests; the engine's own counters join in at scrape time.

    Args:
        model: served model name, the value of the label ``model_name``.
        vllm_names: also answer under the ``vllm:`` names that existing dashboards and gateways read.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, model: str, *, vllm_names: bool = True) -> None:
        self.model = model
        self.recent = Recent()
        self.registry = CollectorRegistry(auto_describe=False)
        self.engine = EngineStatsCollector(PREFIX, model)
        self.registry.register(self.engine)
        self._view = Exposition(self.registry, PREFIX, "vllm:" if vllm_names else "")
        self._latencies()
        self._sizes()
        self._counters()

    def _histogram(self, name: str, text: str, bounds: Iterable[float]) -> Histogram:
        metric = Histogram(PREFIX + name, text, ["model_name"], buckets=tuple(bounds), registry=self.registry)
        return metric.labels(self.model)

    def _latencies(self) -> None:
        seconds = buckets.END_TO_END
        self.ttft = self._histogram(
            "time_to_first_token_seconds", "Arrival to first generated token", buckets.TTFT
        )
        self.itl = self._histogram(
            "inter_token_latency_seconds",
            "Time between consecutive tokens of one sequence, as they reach the front",
            buckets.INTER_TOKEN,
        )
        self.tpot = self._histogram(
            "request_time_per_output_token_seconds",
            "Mean time per generated token after the first, one value per sequence",
            buckets.INTER_TOKEN,
        )
        self.e2e = self._histogram("e2e_request_latency_seconds", "Arrival to last token", seconds)
        self.queue = self._histogram("request_queue_time_seconds", "Arrival to first scheduled step", seconds)
        self.prefill = self._histogram(
            "request_prefill_time_seconds", "First scheduled step to first generated token", seconds
        )
        self.decode = self._histogram("request_decode_time_seconds", "First to last generated token", seconds)
        self.inference = self._histogram(
            "request_inference_time_seconds", "First scheduled step to last generated token", seconds
        )

    def _sizes(self) -> None:
        self.prompt_length = self._histogram("request_prompt_tokens", "Prompt length", buckets.LENGTH)
        self.answer_length = self._histogram("request_generation_tokens", "Answer length", buckets.LENGTH)
        self.max_tokens = self._histogram("request_params_max_tokens", "Limit asked for", buckets.LENGTH)
        self.choices = self._histogram("request_params_n", "Answers asked for", buckets.CHOICES)
        self.request_preemptions = self._histogram(
            "request_num_preemptions", "Preemptions of one sequence", buckets.PREEMPTIONS
        )

    def _counters(self) -> None:
        self.finished = Counter(
            PREFIX + "request_success",
            "Sequences that ended, by the reason",
            ["model_name", "finished_reason"],
            registry=self.registry,
        )
        for reason in ("stop", "length", "abort", "error"):
            self.finished.labels(self.model, reason)
        self.prompt_tokens = Counter(
            PREFIX + "prompt_tokens",
            "Prompt tokens of sequences that reached their first token, cached ones included",
            ["model_name"],
            registry=self.registry,
        ).labels(self.model)
        self.cached_tokens = Counter(
            PREFIX + "prompt_tokens_cached",
            "Prompt tokens that were not computed because the prefix cache had them",
            ["model_name"],
            registry=self.registry,
        ).labels(self.model)
        self.rejected = Counter(
            PREFIX + "requests_rejected",
            "Requests answered with an error before any token, by HTTP status",
            ["model_name", "status"],
            registry=self.registry,
        )
        self.connections = Gauge(
            PREFIX + "http_requests_in_flight",
            "Generation requests whose answer is not complete",
            ["model_name"],
            registry=self.registry,
        ).labels(self.model)

    def render(self, stats: EngineFigures | None) -> bytes:
        """Return the exposition text; ``stats`` is the engine's newest snapshot, None when it has none."""
        self.engine.stats = stats
        return generate_latest(self._view)
