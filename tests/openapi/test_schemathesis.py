"""Our own description, taken at its word: schemathesis asks everything that it allows, and what it does not.

Left out is one of its checks, that whatever the description allows is accepted: a body may be right in each
field and still ask for what is impossible (a prompt beyond the context, two fields that exclude each other).
"""

import json
from itertools import islice

import hypothesis
import pytest
import schemathesis
from jsonschema_rs import validator_for
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from penstock.server.app import create_app
from tests.openapi.conftest import EXAMPLES, examples
from tests.server.fakes import CONFIG, FakeEngine

ENDLESS = "GET /live/events"
"""Streams until the client leaves; `test_description` has a look at it."""

CALLERS_OWN_TIMES = {"queue_timeout", "request_timeout", "deadline_exceeded"}
"""Codes of a 504 that the body itself brought about; errors in Anthropic's form have none."""


@schemathesis.deserializer("text/event-stream")
def _as_text(ctx, response):
    return response.text  # the schema says: a string


@schemathesis.check
def no_failure_of_ours(ctx, response, case):
    """Nothing but a time limit that the caller set is answered with 5xx."""
    if response.status_code >= 500:
        asked = "timeout_ms" in (text := json.dumps(case.body, default=str)) or "deadline_ms" in text
        error = json.loads(response.text)["error"]
        timed_out = error["type"] == "timeout_error" and {error.get("code")} <= {None, *CALLERS_OWN_TIMES}
        assert asked and timed_out, response.text[:500]


@schemathesis.check
def events_are_described(ctx, response, case):
    """Every event of a stream is of a kind that the description names."""
    if not response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        return
    raw = case.operation.schema.raw_schema
    said = raw["paths"][case.operation.path][case.method.lower()]["responses"][str(response.status_code)]
    kinds = {**said["content"]["text/event-stream"]["x-event-schema"], "components": raw["components"]}
    known = validator_for(kinds)
    for event in response.text.split("\n\n"):
        data = [line.removeprefix("data: ") for line in event.split("\n") if line.startswith("data: ")]
        if data and data != ["[DONE]"]:
            for wrong in known.iter_errors(json.loads(data[0])):
                raise AssertionError(f"an event is not as described: {wrong.message[:300]} in {event[:300]}")


CHECKS = [
    no_failure_of_ours,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.missing_required_header,
    events_are_described,
]

PATHS = create_app(FakeEngine(), CONFIG).openapi()["paths"]
OPERATIONS = [f"{method.upper()} {path}" for path, item in PATHS.items() for method in item]
OPERATIONS.remove(ENDLESS)
WITH_BODY = [
    label
    for label in OPERATIONS
    if "requestBody" in PATHS[label.split()[1]][label.split()[0].lower()]
]  # fmt: skip


@pytest.fixture(scope="session")
def description(url):
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


def judge(case):
    case.call_and_validate(checks=CHECKS, timeout=30)


def shake(operation, mode, few):
    @hypothesis.settings(
        max_examples=examples(few),
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        judge(case)

    run()


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_allowed(description, label):
    few = 8 if label in WITH_BODY else 2
    shake(description.find_operation_by_label(label), GenerationMode.POSITIVE, few)


@pytest.mark.parametrize("label", WITH_BODY)
def test_what_is_not_allowed(description, label):
    shake(description.find_operation_by_label(label), GenerationMode.NEGATIVE, 8)


@pytest.mark.parametrize("label", OPERATIONS)
def test_bounds_of_each_field(description, label):
    cases = description.iter_coverage_cases(
        description.find_operation_by_label(label),
        generation_modes=list(GenerationMode),
        generation_config=description.config.generation,
    )
    step = 1 if EXAMPLES else 29  # the suite takes a sample, spread over all fields
    for case in islice(cases, 0, None, step):
        judge(case)
