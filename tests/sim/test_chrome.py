"""The Chrome trace is valid: every span closes, steps do not overlap, times are those of the run."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from penstock.core.errors import ConfigError
from penstock.sim.chrome import PER_REQUEST, ChromeTrace
from penstock.sim.run import Scenario, simulate

SCENARIO = Scenario(
    workload="poisson:rate=20,count=40,prompt=200,output=8", cost="llama-3.1-8b@l4", replicas=2
)


def traced(tmp_path, events=10**6, **changes):
    trace = ChromeTrace(tmp_path / "trace.json", 2, events)
    outcome = simulate(SCENARIO, trace=trace)
    trace.close()
    return json.loads((tmp_path / "trace.json").read_text()), outcome, trace


def test_every_event_has_what_the_format_asks_for(tmp_path):
    data, outcome, trace = traced(tmp_path)
    events = data["traceEvents"]
    assert len(events) == trace.written and trace.left_out == 0
    assert data["otherData"]["label"] == "SIMULATED"
    for event in events:
        assert {"name", "ph", "pid", "ts"} <= event.keys() and event["ph"] in "XbenCM"
        assert event["ph"] != "X" or event["dur"] > 0
        assert event["ph"] not in "be" or {"id", "cat"} <= event.keys()
    steps = [event for event in events if event["ph"] == "X"]
    assert len(steps) == outcome.figures["steps"]
    for number in (0, 1):
        mine = sorted((event["ts"], event["dur"]) for event in steps if event["pid"] == number)
        assert mine, "both replicas work"
        for (begin, length), (after, _) in pairwise(mine):
            assert begin + length <= after + 0.002  # rounding to nanoseconds


def test_async_spans_open_and_close_in_order_and_within_their_request(tmp_path):
    events = traced(tmp_path)[0]["traceEvents"]
    spans = {}
    for event in events:
        if event["ph"] in "be":
            spans.setdefault((event["id"], event["name"]), []).append((event["ph"], event["ts"]))
    assert Counter(name for _, name in spans) == dict.fromkeys(
        ("request", "waiting", "prefill", "decode"), 40
    )
    for (request, _), ((opens, begin), (closes, end)) in spans.items():
        (_, first), (_, last) = spans[request, "request"]
        assert (opens, closes) == ("b", "e") and first <= begin <= end <= last + 0.001


def test_a_full_trace_says_what_it_left_out_and_stays_valid(tmp_path):
    data, _, trace = traced(tmp_path, events=50)
    assert 50 - PER_REQUEST < len(data["traceEvents"]) <= 50, "steps and requests are written whole or not"
    assert data["otherData"]["events_left_out"] == trace.left_out > 0


def test_a_refused_request_is_an_instant(tmp_path):
    trace = ChromeTrace(tmp_path / "t.json", 1)
    big = Scenario(workload="poisson:count=3,prompt=5000,output=5", cost="llama-3.1-8b@l4", max_model_len=100)
    simulate(big, trace=trace)
    trace.close()
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert [event["name"] for event in events if event["ph"] == "n"] == ["refused"] * 3


def test_a_file_that_cannot_be_written_names_the_flag():
    with pytest.raises(ConfigError, match="--chrome-trace"):
        ChromeTrace(Path("/no/such/folder/t.json"), 1)
