"""Writes the table of all metrics into their page: ``python -m penstock.observe.docs FILE``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from prometheus_client.core import Metric

from penstock.observe.aliases import ALIASED
from penstock.observe.engine_stats import figure_names
from penstock.observe.metrics import PREFIX, Metrics

BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"
_UNITS = (
    ("_seconds", "seconds"),
    ("kv_cache_usage_perc", "share, 0 to 1"),
    ("preemptions", "preemptions"),
    ("params_n", "answers"),
    ("tokens", "tokens"),
    ("prefix_cache_", "tokens"),
    ("iteration_tokens", "tokens"),
    ("blocks", "blocks"),
    ("pins", "pins"),
    ("steps", "steps"),
    ("step_faults", "steps"),
    ("http_requests", "requests"),
    ("admissions_blocked", "attempts"),
    ("rejec", "requests"),
    ("grammar_requests", "requests"),
    ("requests", "sequences"),
    ("request_success", "sequences"),
    ("finished", "sequences"),
    ("policy_decisions", "sequences"),
    ("restarts", "restarts"),
    ("engine_up", "0 or 1"),
    ("info", "1"),
)
"""Unit by the first of these that the name holds."""


def example() -> Metrics:
    """Return metrics in which every one has at least one sample."""
    metrics = Metrics("m", policies={"order": "fcfs"}, cache={"block_size": "16"})
    metrics.reject(429, "rate_limit_exceeded", "default")
    metrics.grammar("json_schema")
    stats = SimpleNamespace(**dict.fromkeys(figure_names(), 1))
    stats.step_sizes, stats.finished = (1, 1), {"stop": 1}
    stats.waiting_by_reason, stats.preempted_for = {"blocks": 1}, {"growth": 1}
    seconds = SimpleNamespace(bounds=(1.0,), counts=(1, 0), total=0.5)
    tenants = [SimpleNamespace(tenant="default", running=1, waiting=0)]
    seen = SimpleNamespace(
        stats=stats, tenants=tenants, step_seconds=seconds, host_seconds=seconds, failed_steps=0, admitted=1
    )
    metrics.engine.show(seen, "ready", 0)
    return metrics


def unit(name: str) -> str:
    """Return the unit of a metric's values.

    Raises:
        ValueError: none is known.
    """
    for part, text in _UNITS:
        if part in name:
            return text
    raise ValueError(f"say the unit of {name} in {__name__}")


def rows() -> Iterator[str]:
    """Yield one row of the table per metric, by name."""
    for metric in sorted(example().registry.collect(), key=lambda metric: metric.name):
        yield _row(metric)


def _row(metric: Metric) -> str:
    plain = metric.name.removeprefix(PREFIX)
    labels = {label for sample in metric.samples for label in sample.labels} - {"model_name", "le"}
    told = "_total" if metric.type == "counter" else ""
    cells = (
        f"`{metric.name}{told}`",
        metric.type,
        unit(plain),
        ", ".join(f"`{label}`" for label in sorted(labels)) or "",
        "yes" if plain in ALIASED else "",
        metric.documentation,
    )
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """Return the whole table in Markdown."""
    head = "| metric | type | unit | labels besides `model_name` | also `vllm:` | meaning |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows()])


def rewrite(text: str) -> str:
    """Return the page with the table brought up to date.

    Raises:
        ValueError: the page has no place for it.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(rewrite(page.read_text(encoding="utf-8")), encoding="utf-8")
