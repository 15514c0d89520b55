"""The engine's own counters as metrics: built from its snapshot when somebody scrapes, never before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

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
    ("prompt_tokens_computed", "Prompt tokens computed, recomputation left out", "prompt_tokens"),
    (
        "engine_generated_tokens",
        "Tokens generated, whether or not they reached the front",
        "generated_tokens",
    ),
    ("num_preemptions", "Sequences that lost their memory to others", "preemptions"),
    ("recomputed_tokens", "Tokens computed again after preemption", "recomputed_tokens"),
    ("kv_pins", "Times that KV was pinned at the end of a sequence", "pins_made"),
    ("kv_pins_returned", "Pins that the next turn of their program found in place", "pins_returned"),
    ("kv_pins_given_up", "Pins ended early because memory was short", "pins_given_up"),
    ("steps", "Steps run", "steps"),
    ("requests_submitted", "Sequences submitted to the engine", "submitted"),
)


def figure_names() -> list[str]:
    """Return the names of the plain figures that are read of an engine's stats."""
    extra = ["step_tokens", "refused"]
    return [field for _, _, field in (*_GAUGES, *_COUNTERS)] + extra


class SecondsSeen(Protocol):
    """A histogram of seconds, in classes."""

    @property
    def bounds(self) -> Sequence[float]: ...  # noqa: D102
    @property
    def counts(self) -> Sequence[int]: ...  # noqa: D102
    @property
    def total(self) -> float: ...  # noqa: D102


class EngineSeen(Protocol):
    """What is read of an engine (`penstock.engine.observation.Observation` has it all)."""

    @property
    def stats(self) -> Any: ...  # noqa: D102
    @property
    def tenants(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def step_seconds(self) -> SecondsSeen: ...  # noqa: D102
    @property
    def host_seconds(self) -> SecondsSeen: ...  # noqa: D102
    @property
    def failed_steps(self) -> int: ...  # noqa: D102
    @property
    def admitted(self) -> int: ...  # noqa: D102


class EngineStatsCollector(Collector):
    """Turns the newest engine snapshot into metrics.

    Args:
        prefix: what metric names begin with.
        model: value of the label ``model_name``.
        tenant_label: gives the label of a tenant.
        policies: policy by slot.
        cache: labels of ``cache_config_info``.
    """

    def __init__(
        self,
        prefix: str,
        model: str,
        tenant_label: Callable[[str], str],
        policies: Mapping[str, str],
        cache: Mapping[str, str],
    ) -> None:
        self._prefix = prefix
        self._model = model
        self._tenant_label = tenant_label
        self._policies = policies
        self._cache = cache
        self._seen: EngineSeen | None = None
        self._state, self._restarts = "", 0

    def show(self, seen: EngineSeen | None, state: str, restarts: int) -> None:
        """Take what the next collection tells: snapshot, state of the engine, restarts so far."""
        self._seen, self._state, self._restarts = seen, state, restarts

    def collect(self) -> Iterator[Metric]:
        """Yield one metric per figure of the snapshot; without one, only what is known without it."""
        if not self._state:
            return
        up = self._state in ("ready", "draining")
        yield self._gauge("engine_up", "Whether the engine runs, 0 or 1", {(): int(up)})
        yield self._counter(
            "engine_restarts", "Times that the engine was started again", {(): self._restarts}
        )
        if self._cache:
            info = GaugeMetricFamily(
                self._prefix + "cache_config_info",
                "The KV cache's settings, as labels; 1",
                labels=["model_name", *self._cache],
            )
            info.add_metric((self._model, *self._cache.values()), 1)
            yield info
        if self._seen is not None:
            yield from self._figures(self._seen.stats)
            yield from self._decisions(self._seen)
            yield from self._steps(self._seen)
            yield from self._tenants(self._seen)

    def _figures(self, stats: Any) -> Iterator[Metric]:
        for name, text, field in _GAUGES:
            yield self._gauge(name, text, {(): getattr(stats, field)})
        for name, text, field in _COUNTERS:
            yield self._counter(name, text, {(): getattr(stats, field)})
        used = stats.blocks_total - stats.blocks_free - stats.blocks_reclaimable
        share = used / stats.blocks_total if stats.blocks_total else 0.0
        yield self._gauge(
            "kv_cache_usage_perc", "Share of KV blocks in use by sequences, 0 to 1", {(): share}
        )
        waiting = {("capacity",): stats.waiting}
        yield self._gauge(
            "num_requests_waiting_by_reason", "Sequences that wait for admission, by why", waiting, "reason"
        )
        finished = {(reason,): count for reason, count in stats.finished.items()}
        yield self._counter(
            "engine_finished", "Terminal events of the engine, by the reason", finished, "finished_reason"
        )

    def _decisions(self, seen: EngineSeen) -> Iterator[Metric]:
        """Yield what the policies decided."""
        stats, named = seen.stats, self._policies.get
        blocked = {(reason,): count for reason, count in stats.waiting_by_reason.items()}
        yield self._counter(
            "num_admissions_blocked", "Admission attempts that found a resource short", blocked, "reason"
        )
        decisions = {
            ("admit", named("admit", ""), "accepted"): stats.submitted,
            ("admit", named("admit", ""), "refused"): stats.refused,
            ("order", named("order", ""), "admitted"): seen.admitted,
        }
        for cause in ("growth", "rank"):
            decisions["preempt", named("preempt", ""), cause] = stats.preempted_for.get(cause, 0)
        yield self._counter(
            "policy_decisions",
            "Sequences that a policy accepted or refused at the door, admitted to a slot, or preempted for "
            "another's growth or rank",
            decisions,
            *("slot", "policy", "decision"),
        )

    def _steps(self, seen: EngineSeen) -> Iterator[Metric]:
        stats = seen.stats
        last = len(stats.step_sizes) - 1
        sizes = [("+Inf" if i == last else str(float(2**i)), n) for i, n in enumerate(stats.step_sizes)]
        yield self._histogram("iteration_tokens_total", "Rows of each step", sizes, stats.step_tokens)
        for name, text, seconds in (
            ("scheduler_step_seconds", "Time to plan a step and to take its result in", seen.host_seconds),
            ("engine_step_seconds", "Time that the executor worked on a step", seen.step_seconds),
        ):
            bounds = (*(str(float(bound)) for bound in seconds.bounds), "+Inf")
            yield self._histogram(name, text, list(zip(bounds, seconds.counts, strict=True)), seconds.total)
        text = "Steps that failed and were tried again without the suspects"
        yield self._counter("step_faults", text, {(): seen.failed_steps})

    def _tenants(self, seen: EngineSeen) -> Iterator[Metric]:
        running: dict[tuple[str, ...], float] = {}
        waiting: dict[tuple[str, ...], float] = {}
        for load in seen.tenants:
            key = (self._tenant_label(load.tenant),)
            running[key] = running.get(key, 0) + load.running
            waiting[key] = waiting.get(key, 0) + load.waiting
        yield self._gauge(
            "tenant_requests_running", "Sequences that hold memory, by tenant", running, "tenant"
        )
        yield self._gauge(
            "tenant_requests_waiting", "Sequences that wait for admission, by tenant", waiting, "tenant"
        )

    def _gauge(self, name: str, text: str, values: Mapping[Any, float], *labels: str) -> Metric:
        gauge = GaugeMetricFamily(self._prefix + name, text, labels=["model_name", *labels])
        for key, value in values.items():
            gauge.add_metric((self._model, *key), value)
        return gauge

    def _counter(self, name: str, text: str, values: Mapping[Any, float], *labels: str) -> Metric:
        counter = CounterMetricFamily(self._prefix + name, text, labels=["model_name", *labels])
        for key, value in values.items():
            counter.add_metric((self._model, *key), value)
        return counter

    def _histogram(self, name: str, text: str, classes: list[tuple[str, int]], total: float) -> Metric:
        """Build a histogram from (upper bound, entries of that class alone)."""
        metric = HistogramMetricFamily(self._prefix + name, text, labels=["model_name"])
        buckets, count = [], 0
        for bound, entries in classes:
            count += entries
            buckets.append((bound, float(count)))
        if buckets:
            metric.add_metric((self._model,), buckets, total)
        return metric
