"""The one place where latency figures are defined. Times are seconds on one monotonic clock.

- TTFT: first token available to the client minus arrival.
- TPOT: (last token - first token) / (output tokens - 1); undefined for one token, which is left out.
- ITL: gaps between successive arrivals of tokens at the client, pooled over requests. A chunk that carries
  several tokens counts once, as servers do not say how many it holds.
- E2E: last token minus arrival.
- Percentiles are nearest-rank on the raw samples, the median included.
- Attainment: share of all requests that met every objective jointly; a request that failed violated them.
- Goodput: requests that met every objective, per second.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.core.errors import ConfigError
from penstock.workload.metrics.percentiles import PERCENTILES, percentile, summarise

__all__ = ["PERCENTILES", "Record", "aggregate", "meets", "parse_slo", "percentile", "summarise"]

SLO_METRICS = ("ttft", "tpot", "e2el")


@dataclass(slots=True)
class Record:
    """What was seen of one request."""

    arrival: float
    """When it was sent (open loop: its due time or shortly after)."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    """As counted by the server."""
    token_times: list[float] = field(default_factory=list)
    """When each chunk with output reached the client."""
    end: float = 0.0
    """When the end was announced; a last token that shows no text is only seen by it."""
    expected_tokens: int | None = None
    """Output tokens that were asked for."""
    cached_tokens: int = 0
    delay: float = 0.0
    """How late the client itself sent it, compared with its due time."""
    finish_reason: str = ""
    text: str = ""
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it finished with at least one token."""
        return self.error is None and bool(self.token_times)

    @property
    def ttft(self) -> float:
        """Seconds to the first token; only for `ok` records."""
        return self.token_times[0] - self.arrival

    @property
    def tpot(self) -> float | None:
        """Seconds per output token after the first, or None where it is undefined."""
        if self.output_tokens < 2:
            return None
        return (self.last_token - self.token_times[0]) / (self.output_tokens - 1)

    @property
    def e2el(self) -> float:
        """Seconds from arrival to the last token; only for `ok` records."""
        return self.last_token - self.arrival

    @property
    def last_token(self) -> float:
        """When the last token was available to the client; only for `ok` records."""
        return max(self.token_times[-1], self.end)

    @property
    def itl(self) -> list[float]:
        """Seconds between successive chunks."""
        times = self.token_times
        return [later - earlier for earlier, later in itertools.pairwise(times)]


def parse_slo(items: Iterable[str]) -> dict[str, float]:
    """Parse objectives such as ``ttft:200,tpot:50`` into seconds by metric.

    Args:
        items: ``metric:value`` pairs, also several in one text with commas; values are milliseconds
            unless they end in ``ms`` or ``s``.

    Raises:
        ConfigError: unknown metric or unreadable value.
    """
    objectives: dict[str, float] = {}
    for pair in (part for item in items for part in item.split(",") if part):
        name, _, value = pair.partition(":")
        name = {"e2e": "e2el"}.get(name, name)
        if name not in SLO_METRICS:
            raise ConfigError(
                "--goodput", f"expected metric:value with one of {', '.join(SLO_METRICS)}, got {pair!r}"
            )
        number, scale = value, 1e-3
        if value.endswith("ms"):
            number = value[:-2]
        elif value.endswith("s"):
            number, scale = value[:-1], 1.0
        try:
            objectives[name] = float(number) * scale
        except ValueError:
            raise ConfigError("--goodput", f"expected a time like 200, 200ms or 0.2s, got {pair!r}") from None
        if not objectives[name] > 0:
            raise ConfigError("--goodput", f"expected a time above 0, got {pair!r}")
    return objectives


def meets(record: Record, objectives: Mapping[str, float]) -> bool:
    """Return whether a request finished within every objective; an undefined TPOT violates nothing."""
    if not record.ok:
        return False
    measured = {"ttft": record.ttft, "tpot": record.tpot, "e2el": record.e2el}
    values = ((measured[name], limit) for name, limit in objectives.items())
    return all(value is None or value <= limit for value, limit in values)


def aggregate(
    records: Sequence[Record],
    duration: float,
    objectives: Mapping[str, float] | None = None,
    percentiles: Iterable[float] = PERCENTILES,
) -> dict[str, float | int]:
    """Return all figures of a run, under the key names that scripts for other servers parse.

    Args:
        records: every request of the run, failed ones included.
        duration: seconds from the first request sent to the last one finished.
        objectives: see `parse_slo`; when given, goodput and attainment are reported.
        percentiles: which ones to report besides the median.
    """
    done = [record for record in records if record.ok]
    prompt = sum(record.prompt_tokens for record in done)
    output = sum(record.output_tokens for record in done)
    per_second = 1 / duration if duration > 0 else 0.0
    figures: dict[str, float | int] = {
        "duration": duration,
        "completed": len(done),
        "failed": len(records) - len(done),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "total_cached_tokens": sum(record.cached_tokens for record in done),
        "request_throughput": len(done) * per_second,
        "input_throughput": prompt * per_second,
        "output_throughput": output * per_second,
        "total_token_throughput": (prompt + output) * per_second,
        "output_length_mismatches": sum(
            record.expected_tokens not in (None, record.output_tokens) for record in done
        ),
    }
    if objectives:
        good = sum(meets(record, objectives) for record in records)
        figures["request_goodput"] = good * per_second
        figures["slo_attainment"] = good / len(records) if records else 0.0
        for name, limit in objectives.items():
            alone = sum(meets(record, {name: limit}) for record in records)
            figures[f"slo_attainment_{name}"] = alone / len(records) if records else 0.0
    wanted = list(percentiles)
    figures |= summarise("ttft", [record.ttft for record in done], wanted)
    figures |= summarise("tpot", [record.tpot for record in done if record.tpot is not None], wanted)
    figures |= summarise("itl", [gap for record in done for gap in record.itl], wanted)
    figures |= summarise("e2el", [record.e2el for record in done], wanted)
    figures |= summarise("client_delay", [record.delay for record in records], wanted)
    return figures
