"""A span per request: what it says, whose child it is, and that a collector that is down harms nobody."""

import asyncio
import http.server
import logging
import threading

import httpx
import msgspec
import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from penstock.config.settings import ObserveConfig
from penstock.core.errors import ConfigError, Overloaded
from penstock.core.output import Timeline
from penstock.observe import tracing as tracing_module
from penstock.observe.tracing import Tracing, open_tracing
from penstock.server.app import create_app
from tests.server.fakes import CONFIG, FakeEngine

HI = {"messages": [{"role": "user", "content": "hi"}]}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Traced:
    def __init__(self, engine=None):
        self.engine = engine or FakeEngine()
        self.exporter = InMemorySpanExporter()
        self.app = create_app(self.engine, CONFIG)
        self.tracing = self.app.state.service.tracing = Tracing(self.exporter, "fake", "1.0")

    def post(self, path, body, **kwargs):
        async def go():
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.post(path, json=body, **kwargs)

        return asyncio.run(go())

    def spans(self):
        assert self.tracing.flush()
        return self.exporter.get_finished_spans()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_one_span(stream):
    traced = Traced()
    body = {**HI, "stream": stream, "max_tokens": 4, "temperature": 0.5, "user": "ada", "n": 2}
    traced.post("/v1/chat/completions", body, headers={"traceparent": PARENT})
    (span,) = traced.spans()
    assert span.name == "chat fake" and span.kind is SpanKind.SERVER
    assert span.context.trace_id == int(PARENT.split("-")[1], 16)
    assert span.parent.span_id == int(PARENT.split("-")[2], 16)
    told = dict(span.attributes)
    assert told["gen_ai.request.model"] == "fake" and told["gen_ai.response.id"].startswith("chatcmpl-")
    assert told["gen_ai.usage.output_tokens"] == 8
    assert told["gen_ai.usage.input_tokens"] == len("<user>hi<assistant>")
    assert told["gen_ai.request.temperature"] == 0.5 and told["gen_ai.request.max_tokens"] == 4
    assert told["gen_ai.response.finish_reasons"] == ("length", "length")
    assert told["penstock.tenant"] == "ada"
    assert 0 < told["gen_ai.latency.time_to_first_token"] <= told["gen_ai.latency.e2e"]
    assert {"time_in_queue", "time_in_model_prefill", "time_in_model_decode"} <= {
        name.removeprefix("gen_ai.latency.") for name in told
    }
    assert [event.name for event in span.events] == ["first token"]
    assert span.start_time < span.events[0].timestamp <= span.end_time
    assert span.status.status_code is StatusCode.UNSET
    assert "hi" not in {str(value) for value in told.values()}, "no text of the prompt"


def test_a_caller_that_does_not_sample_is_followed():
    traced = Traced()
    traced.post("/v1/chat/completions", HI, headers={"traceparent": PARENT[:-2] + "00"})
    assert traced.spans() == ()


def test_nonsense_for_a_parent_begins_a_trace():
    traced = Traced()
    traced.post("/v1/completions", {"prompt": "x"}, headers={"traceparent": "00-nonsense"})
    (span,) = traced.spans()
    assert span.parent is None and span.name == "text_completion fake"


def test_refusals_and_failures_are_errors():
    traced = Traced()
    traced.engine.refusal = Overloaded("full", 1.0)
    traced.post("/v1/chat/completions", HI)
    traced.engine.refusal, traced.engine.fail_at = None, 1
    traced.post("/v1/chat/completions", HI)
    refused, failed = traced.spans()
    assert refused.status.status_code is failed.status.status_code is StatusCode.ERROR
    assert refused.attributes["error.type"] == "overloaded" and failed.attributes["error.type"] == "error"


def test_preemptions_are_events():
    import time

    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, "m", "1")
    span, now = tracing.begin("cmpl-1", "t", 0, None), time.monotonic()
    time.sleep(0.002)
    line = Timeline(now, now, now, now, now, preempted=(now + 0.001, now - 100))
    span.answered("stop", line)
    span.end(1, 2, 0)
    span.end(1, 2, 0)
    tracing.flush()
    (made,) = exporter.get_finished_spans()
    assert [event.name for event in made.events] == ["preempted"] * 2
    assert all(made.start_time <= event.timestamp <= made.end_time for event in made.events)
    assert made.attributes["penstock.preemptions"] == 2


class Collector(http.server.BaseHTTPRequestHandler):
    bodies = []  # noqa: RUF012
    status = 200

    def do_POST(self):
        self.bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def collector():
    Collector.bodies, Collector.status = [], 200
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_spans_reach_a_collector_over_http(collector):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    tracing = open_tracing(f"http://127.0.0.1:{collector.server_port}", "m", "1")
    tracing.begin("chatcmpl-7", "ada", -1, PARENT).end(5, 6, 0)
    tracing.close()
    ((path, body),) = Collector.bodies
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    names = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert names["service.name"] == "penstock"
    (span,) = resource.scope_spans[0].spans
    assert span.name == "chat m" and span.trace_id.hex() == PARENT.split("-")[1]


def test_a_collector_that_fails_is_told_of_once(collector, caplog, monkeypatch):
    monkeypatch.setattr(tracing_module, "EXPORT_SECONDS", 0.2)
    Collector.status = 400  # not worth a retry
    tracing = open_tracing(f"http://127.0.0.1:{collector.server_port}/v1/traces", "m", "1")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            tracing.begin("chatcmpl-7", "ada", 0, None).end(5, 6, 0)
            tracing.flush()
        assert [record.message for record in caplog.records if "traces" in record.message] == [
            "traces cannot be sent; they are dropped until the collector is back"
        ]
        Collector.status = 200
        tracing.begin("chatcmpl-7", "ada", 0, None).end(5, 6, 0)
        tracing.flush()
        assert caplog.records[-1].message == "traces are sent again"
    tracing.close()


def test_requests_do_not_wait_for_a_collector_that_is_gone():
    config = msgspec.structs.replace(
        CONFIG, observe=ObserveConfig(otlp_traces_endpoint="http://127.0.0.1:9/v1/traces")
    )

    async def go():
        app = create_app(FakeEngine(), config)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://t") as client:
            replies = [await client.post("/v1/chat/completions", json=HI) for _ in range(20)]
        return app, replies

    app, replies = asyncio.run(asyncio.wait_for(go(), 5))
    assert {reply.status_code for reply in replies} == {200}
    app.state.service.tracing.close()


def test_a_bad_endpoint_names_the_setting():
    config = msgspec.structs.replace(CONFIG, observe=ObserveConfig(otlp_traces_endpoint="localhost:4318"))
    with pytest.raises(ConfigError, match=r"observe\.otlp_traces_endpoint.*http://localhost:4318"):
        create_app(FakeEngine(), config)


def test_a_missing_extra_names_the_setting(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    config = msgspec.structs.replace(
        CONFIG, observe=ObserveConfig(otlp_traces_endpoint="http://localhost:4318")
    )
    with pytest.raises(ConfigError, match=r"penstock\[otel\]"):
        create_app(FakeEngine(), config)
