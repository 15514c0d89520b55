"""The metrics of one server, in a registry of their own (several servers may live in one process)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from penstock.observe import buckets
from penstock.observe.aliases import Exposition
from penstock.observe.engine_stats import EngineSeen, EngineStatsCollector
from penstock.observe.labels import DEFAULT, PRIORITIES, TenantLabels, priority_class
from penstock.observe.window import Recent

PREFIX = "penstock:"
_WHO = ("tenant", "priority")
_REASONS = ("stop", "length", "abort", "error")


class Account:
    """The metrics of one tenant's requests of one priority class, ready to be added to.

    Args:
        metrics: where they belong.
        who: the labels tenant and priority.
    """

    __slots__ = (
        "cached_tokens",
        "e2e",
        "finished",
        "generated_tokens",
        "itl",
        "prompt_tokens",
        "queue",
        "tpot",
        "ttft",
    )

    def __init__(self, metrics: Metrics, who: tuple[str, str]) -> None:
        labels = (metrics.model, *who)
        self.ttft = metrics.ttft.labels(*labels)
        self.itl = metrics.itl.labels(*labels)
        self.tpot = metrics.tpot.labels(*labels)
        self.e2e = metrics.e2e.labels(*labels)
        self.queue = metrics.queue.labels(*labels)
        self.prompt_tokens = metrics.prompt_tokens.labels(*labels)
        self.cached_tokens = metrics.cached_tokens.labels(*labels)
        self.generated_tokens = metrics.generated_tokens.labels(*labels)
        self.finished = {reason: metrics.finished.labels(metrics.model, reason, *who) for reason in _REASONS}


class Metrics:
    """Everything that is counted about requests; the engine's own counters join in at scrape time.

    Args:
        model: served model name, the value of the label ``model_name``.
        vllm_names: also answer under the ``vllm:`` names that existing dashboards and gateways read.
        tenants: tenants with series of their own; the rest share those of ``(other)``.
        policies: policy by slot, for the counts of their decisions.
        cache: labels of ``cache_config_info``.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(
        self,
        model: str,
        *,
        vllm_names: bool = True,
        tenants: int = 16,
        policies: Mapping[str, str] | None = None,
        cache: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.recent = Recent()
        self._rendering = Lock()
        self.tenants = TenantLabels(tenants)
        self.registry = CollectorRegistry(auto_describe=False)
        self.engine = EngineStatsCollector(PREFIX, model, self.tenants.of, policies or {}, cache or {})
        self.registry.register(self.engine)
        self._view = Exposition(self.registry, PREFIX, "vllm:" if vllm_names else "", set(_WHO))
        self._latencies()
        self._sizes()
        self._tokens()
        self._requests()
        self._accounts: dict[tuple[str, str], Account] = {}
        self.account(DEFAULT, 0)

    def account(self, tenant: str, priority: int) -> Account:
        """Return where the requests of a tenant and priority are counted."""
        who = (self.tenants.of(tenant), priority_class(priority))
        found = self._accounts.get(who)
        if found is None:
            found = self._accounts[who] = Account(self, who)
        return found

    def reject(self, status: int, reason: str, tenant: str) -> None:
        """Count a request that was answered with an error before any token.

        Args:
            status: HTTP status.
            reason: the error's code.
            tenant: who asked.
        """
        self.rejected.labels(self.model, str(status), reason, self.tenants.of(tenant)).inc()
        if status in (429, 503):
            self.turned_away.labels(self.model, reason).inc()

    def grammar(self, kind: str) -> None:
        """Count a request whose answer a grammar of this kind binds."""
        self.grammars.labels(self.model, kind).inc()

    def _histogram(
        self, name: str, text: str, bounds: Iterable[float], labels: tuple[str, ...] = ()
    ) -> Histogram:
        names = ["model_name", *labels]
        return Histogram(PREFIX + name, text, names, buckets=tuple(bounds), registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, ["model_name", *labels], registry=self.registry)

    def _latencies(self) -> None:
        seconds = buckets.END_TO_END
        self.ttft = self._histogram(
            "time_to_first_token_seconds",
            "Arrival of the request at the server to its first token, recorded with that token",
            *(buckets.TTFT, _WHO),
        )
        self.itl = self._histogram(
            "inter_token_latency_seconds",
            "Time between consecutive tokens of one sequence, as they reach the front",
            *(buckets.INTER_TOKEN, _WHO),
        )
        self.tpot = self._histogram(
            "request_time_per_output_token_seconds",
            "Mean time per generated token after the first, one value per sequence",
            *(buckets.INTER_TOKEN, _WHO),
        )
        self.e2e = self._histogram(
            "e2e_request_latency_seconds", "Arrival of the request at the server to its end", seconds, _WHO
        )
        self.queue = self._histogram(
            "request_queue_time_seconds", "Arrival at the engine to first scheduled step", seconds, _WHO
        )
        self.prefill = self._histogram(
            "request_prefill_time_seconds", "First scheduled step to first generated token", seconds
        ).labels(self.model)
        self.decode = self._histogram(
            "request_decode_time_seconds", "First to last generated token", seconds
        ).labels(self.model)
        self.inference = self._histogram(
            "request_inference_time_seconds", "First scheduled step to last generated token", seconds
        ).labels(self.model)

    def _sizes(self) -> None:
        def size(name: str, text: str, bounds: Iterable[float]) -> Histogram:
            return self._histogram(name, text, bounds).labels(self.model)

        self.prompt_length = size("request_prompt_tokens", "Prompt length in tokens", buckets.LENGTH)
        self.answer_length = size("request_generation_tokens", "Answer length in tokens", buckets.LENGTH)
        self.max_tokens = size("request_params_max_tokens", "Limit asked for, in tokens", buckets.LENGTH)
        self.choices = size("request_params_n", "Answers asked for by one request", buckets.CHOICES)
        self.request_preemptions = size(
            "request_num_preemptions", "Preemptions of one sequence", buckets.PREEMPTIONS
        )

    def _tokens(self) -> None:
        self.prompt_tokens = self._counter(
            "prompt_tokens",
            "Prompt tokens of sequences that reached their first token, cached ones included",
            *_WHO,
        )
        self.cached_tokens = self._counter(
            "prompt_tokens_cached",
            "Prompt tokens that were not computed because the prefix cache had them",
            *_WHO,
        )
        self.generated_tokens = self._counter(
            "generation_tokens", "Generated tokens that reached the front", *_WHO
        )
        sources = self._counter("prompt_tokens_by_source", "Prompt tokens by where they came from", "source")
        self.computed_source = sources.labels(self.model, "local_compute")
        self.cached_source = sources.labels(self.model, "local_cache_hit")

    def _requests(self) -> None:
        self.finished = self._counter(
            "request_success", "Sequences that ended, by the reason", "finished_reason", *_WHO
        )
        self.rejected = self._counter(
            "requests_rejected",
            "Requests answered with an error before any token, by HTTP status and error code",
            *("status", "reason", "tenant"),
        )
        self.turned_away = self._counter(
            "admission_rejections",
            "Requests turned away for load or limits (429, 503), by error code",
            "reason",
        )
        self.grammars = self._counter("grammar_requests", "Requests whose answer a grammar binds", "kind")
        self.connections = Gauge(
            PREFIX + "http_requests_in_flight",
            "Generation requests whose answer is not complete",
            ["model_name"],
            registry=self.registry,
        ).labels(self.model)

    def render(self, seen: EngineSeen | None, state: str = "ready", restarts: int = 0) -> bytes:
        """Return the exposition text; safe in a thread, as many series take long enough to be felt.

        Args:
            seen: what the engine told last; None when it tells nothing.
            state: the engine's health.
            restarts: times that it was started again.
        """
        with self._rendering:
            self.engine.show(seen, state, restarts)
            return generate_latest(self._view)


__all__ = ["PREFIX", "PRIORITIES", "Account", "Metrics"]
