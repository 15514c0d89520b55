"""One OpenTelemetry span per request, sent by OTLP. Needs the extra ``otel``, imported when asked for.

Attributes follow OpenTelemetry's conventions for generative AI, latencies the names that vLLM gave them. A
span is put together when its request ends and handed to a bounded queue: no request ever waits for a
collector, and one that is down costs a line in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from penstock.observe.milestones import Milestones

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

EXPORT_SECONDS = 3.0
"""How long one export may take; at most so long does the end of the server wait for the last one."""
_OPERATIONS = {"cmpl": "text_completion", "embd": "embeddings"}
"""Operation by the first part of an answer's id; all others are chats."""


class NotInstalled(Exception):
    """The extra ``otel`` is missing."""


class Tracing:
    """Makes and sends spans.

    Args:
        exporter: where finished spans go, in a thread of its own.
        model: served model name.
        version: the package's.
    """

    def __init__(self, exporter: SpanExporter, model: str, version: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": "penstock", "service.version": version})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(_told(exporter)))
        self.tracer = self._provider.get_tracer("penstock", version)
        self.model = model

    def begin(self, answer_id: str, tenant: str, priority: int, traceparent: str | None) -> RequestSpan:
        """Begin to follow a request.

        Args:
            answer_id: id of the answer.
            tenant: whose it is.
            priority: its priority.
            traceparent: the caller's span, in W3C's form.
        """
        return RequestSpan(self, answer_id, tenant, priority, traceparent)

    def flush(self, seconds: float = EXPORT_SECONDS) -> bool:
        """Send what waits to be sent; False if that took too long."""
        return self._provider.force_flush(int(seconds * 1000))

    def close(self) -> None:
        """Send what waits to be sent and end; blocks for about `EXPORT_SECONDS` at most."""
        self._provider.shutdown()


class RequestSpan:
    """What is known of a request for its span; times are the caller's monotonic seconds.

    Made by `Tracing.begin`.
    """

    def __init__(
        self, tracing: Tracing, answer_id: str, tenant: str, priority: int, traceparent: str | None
    ) -> None:
        self._tracing = tracing
        self._id = answer_id
        self._traceparent = traceparent
        self._began = time.time_ns()
        self._ended = False
        self._first = 0
        self._reasons: list[str] = []
        self._line: Milestones | None = None
        self._preempted: list[float] = []
        self._attributes: dict[str, Any] = {"penstock.tenant": tenant, "penstock.priority": priority}

    def asked(self, params: object) -> None:
        """Note how tokens are to be chosen: the fields of ``params`` that have conventional names."""
        for name in ("max_tokens", "temperature", "top_p", "n"):
            value = getattr(params, name, None)
            if value is not None:
                self._attributes[f"gen_ai.request.{name}"] = value

    def token(self) -> None:
        """Note that tokens arrived; the first call counts."""
        if not self._first:
            self._first = time.time_ns()

    def answered(self, reason: str, line: Milestones | None) -> None:
        """Note that one of the request's answers ended."""
        self._reasons.append(reason)
        if line is not None:
            self._line = line
            self._preempted.extend(line.preempted)

    def end(self, prompt_tokens: int, generated: int, cached: int, error: str = "") -> None:
        """Hand the span over; only the first call counts, and none ever raises.

        Args:
            prompt_tokens: of all prompts.
            generated: tokens of all answers.
            cached: prompt tokens from the prefix cache.
            error: code of the error that it ended with.
        """
        if self._ended:
            return
        self._ended = True
        error = error or next((reason for reason in self._reasons if reason in ("error", "abort")), "")
        try:
            self._send({"input_tokens": prompt_tokens, "output_tokens": generated}, cached, error)
        except Exception:  # observation must not harm what it observes
            log.exception("a span could not be made")

    def _send(self, usage: Mapping[str, int], cached: int, error: str) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        now, model = time.time_ns(), self._tracing.model
        operation = _OPERATIONS.get(self._id.split("-")[0], "chat")
        carrier = {"traceparent": self._traceparent} if self._traceparent else {}
        span = self._tracing.tracer.start_span(
            f"{operation} {model}",
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            start_time=self._began,
        )
        if span.is_recording():
            span.set_attributes(
                {
                    "gen_ai.operation.name": operation,
                    "gen_ai.provider.name": "penstock",
                    "gen_ai.request.model": model,
                    "gen_ai.response.model": model,
                    "gen_ai.response.id": self._id,
                    "gen_ai.request.id": self._id,
                    **{f"gen_ai.usage.{name}": count for name, count in usage.items()},
                    "gen_ai.usage.cache_read.input_tokens": cached,
                    "gen_ai.response.finish_reasons": tuple(self._reasons),
                    "gen_ai.latency.e2e": (now - self._began) / 1e9,
                    "penstock.preemptions": len(self._preempted),
                    **self._latencies(),
                    **self._attributes,
                }
            )
            if self._first:
                span.add_event("first token", timestamp=self._first)
            offset = time.time() - time.monotonic()  # the engine's clock is this machine's monotonic one
            for at in sorted(self._preempted):
                moment = int((at + offset) * 1e9)
                span.add_event("preempted", timestamp=min(max(moment, self._began), now))
            if error:
                span.set_attribute("error.type", error)
                span.set_status(Status(StatusCode.ERROR, error))
        span.end(end_time=now)

    def _latencies(self) -> dict[str, float]:
        found = {"time_to_first_token": (self._first - self._began) / 1e9} if self._first else {}
        line = self._line
        if line is not None and line.first_scheduled:
            found["time_in_queue"] = line.first_scheduled - line.arrival
            if line.first_token:
                found["time_in_model_prefill"] = line.first_token - line.first_scheduled
                found["time_in_model_decode"] = line.last_token - line.first_token
                found["time_in_model_inference"] = line.last_token - line.first_scheduled
        return {f"gen_ai.latency.{name}": seconds for name, seconds in found.items()}


def open_tracing(endpoint: str, model: str, version: str) -> Tracing:
    """Return tracing that sends to an OTLP collector over HTTP (a bare host gets the path ``/v1/traces``).

    Raises:
        NotInstalled: the extra ``otel`` is missing.
        ValueError: the endpoint is no HTTP URL.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"expected a URL such as http://localhost:4318/v1/traces, got {endpoint!r}")
    if parts.path in ("", "/"):
        endpoint = parts._replace(path="/v1/traces").geturl()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise NotInstalled(f"needs the extra 'otel' (pip install 'penstock[otel]'): {error}") from error
    # What they say at each failed export is said once by us.
    for name in (
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        "opentelemetry.exporter.http.transport",
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return Tracing(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS), model, version)


def _told(exporter: SpanExporter) -> SpanExporter:
    """Wrap an exporter so that the log has a line when it begins to fail and one when it recovers."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Told(SpanExporter):
        failing = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                result, cause = exporter.export(spans), ""
            except Exception as error:  # the thread that exports must live on
                result, cause = SpanExportResult.FAILURE, f" ({error})"
            failed = result is not SpanExportResult.SUCCESS
            if failed and not self.failing:
                log.warning("traces cannot be sent%s; they are dropped until the collector is back", cause)
            elif self.failing and not failed:
                log.info("traces are sent again")
            self.failing = failed
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return exporter.force_flush(timeout_millis)

    return Told()
